"""One sample explained: forward, backward, and the sums over paths."""
