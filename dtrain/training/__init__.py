"""The training loop: joins program, loss, data, world and optimizer."""
