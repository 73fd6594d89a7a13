"""What is minimised, and the steps that minimise it."""
