"""Explain one sample: values forward, derivatives backward, sums over paths."""
