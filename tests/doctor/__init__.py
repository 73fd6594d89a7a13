"""Tests of dtrain.doctor."""
