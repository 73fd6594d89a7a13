"""Differentiate a flow graph into its backward flow graph."""
