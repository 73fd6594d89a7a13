"""Vectors with a fixed number of lanes, and their LLVM instructions."""
