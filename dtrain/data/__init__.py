"""Named columns of samples, and the order in which they are visited."""
