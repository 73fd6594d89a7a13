"""Gradients against closed forms, finite differences, and another implementation."""
