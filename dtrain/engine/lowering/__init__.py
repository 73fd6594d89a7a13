"""Lower a flow graph to a plan: one rule for each base function."""
