"""Tests of dtrain.problem."""
