"""Run plans: memory, order, threads, and NumPy calls."""
