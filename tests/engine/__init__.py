"""The engine: plans, blocks and stacks, memory, contractions."""
