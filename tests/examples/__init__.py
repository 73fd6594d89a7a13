"""The files under examples/ hold to what they are for."""
