"""Targets: what outputs are compared with, and what a loss wants them to be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.functions.base import Shape


@dataclass(frozen=True)
class Target:
    """What a loss takes as one sample's target.

    Attributes:
        shape: its shape.
        low: the least value of an element.
        high: the largest.
        labels: whether elements are whole numbers, of classes; they stay integers.
        shares: whether elements along the last axis are shares, which sum to 1.
    """

    shape: Shape
    low: float = -math.inf
    high: float = math.inf
    labels: bool = False
    shares: bool = False

    def fits(self, values: NDArray[Any]) -> NDArray[np.bool]:
        """Return which elements of targets are what they must be."""
        fit = (values >= self.low) & (values <= self.high)
        if self.labels:
            fit &= values == np.floor(values)
        if self.shares:
            total = np.sum(values, axis=-1, keepdims=True, dtype=np.float64)
            fit &= np.abs(total - 1) <= 1e-5
        return np.asarray(fit)

    @property
    def must(self) -> str:
        """What elements must be, in words."""
        if self.labels:
            return f"class labels must be whole numbers from 0 to {self.high:g}"
        must = f"targets must be numbers from {self.low:g} to {self.high:g}"
        return f"{must} that sum to 1 over the classes" if self.shares else must

    def draw(self, rng: np.random.Generator, samples: int) -> NDArray[Any]:
        """Return random targets, for checks without data."""
        size = (samples, *self.shape)
        if self.labels:
            return rng.integers(int(self.low), int(self.high), size, endpoint=True)
        if math.isfinite(self.low):
            return rng.uniform(self.low, self.high, size)
        return rng.standard_normal(size)
