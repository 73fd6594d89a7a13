"""Gradients: closed forms, random programs, another implementation."""
