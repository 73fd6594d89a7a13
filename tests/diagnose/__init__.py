"""Tests of dtrain.diagnose."""
