"""Differentiate a flow graph: its backward graph, and the sum over paths."""
