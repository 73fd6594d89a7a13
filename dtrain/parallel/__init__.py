"""Worlds of ranks, blocks of samples, and sums that do not depend on either."""
