"""A program with its loss and data, and the sums that are evaluated from them."""
