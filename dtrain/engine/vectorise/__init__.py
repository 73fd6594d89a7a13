"""Turn scalars of a graph into arrays: sums flattened, like nodes grouped."""
