"""A backend that compiles elementwise regions of a plan into loops."""
