"""Tests that run under mpirun, each rank in its own process."""
