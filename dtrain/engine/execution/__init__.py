"""Run plans: memory, order, threads, and the calls of NumPy."""
