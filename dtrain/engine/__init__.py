"""Plan a flow graph, and evaluate it on blocks of samples."""
