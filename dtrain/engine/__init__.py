"""A flow graph, planned and run on blocks of samples."""
