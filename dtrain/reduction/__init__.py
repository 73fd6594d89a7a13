"""Sum vectors over blocks and ranks in an order that does not depend on the ranks."""
