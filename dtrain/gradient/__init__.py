"""A flow graph, differentiated into its backward flow graph."""
