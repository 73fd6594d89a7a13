"""Measurements of dtrain beside its peers; `scripts/bench` runs them."""
