"""Tests of dtrain.reduction."""
