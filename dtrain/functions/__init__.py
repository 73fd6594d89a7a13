"""Base functions: value, shape rule and transfer function, side by side."""
