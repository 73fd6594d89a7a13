"""Tests of dtrain.host."""
