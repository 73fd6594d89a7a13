"""Data sets: named columns of samples, and the order in which they are visited."""
