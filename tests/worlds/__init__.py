"""Tests of dtrain.worlds."""
