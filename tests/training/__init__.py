"""Programs that learn from data, on worlds of all sizes."""
