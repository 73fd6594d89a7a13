"""A Python function of one sample, traced into a flow graph."""
