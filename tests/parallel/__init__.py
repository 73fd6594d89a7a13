"""Tests of dtrain.parallel."""
