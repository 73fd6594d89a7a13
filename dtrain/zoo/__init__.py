"""Ready programs with their data."""
