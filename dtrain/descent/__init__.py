"""Losses and penalties to minimise, and the optimizers that minimise them."""
