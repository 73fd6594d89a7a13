"""Trace a Python function of one sample into a flow graph."""
