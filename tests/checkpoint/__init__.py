"""Tests of dtrain.checkpoint."""
