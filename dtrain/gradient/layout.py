"""The layout of a flat vector of all weights, and of the tail beside it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.errors import UsageError
from dtrain.tracing.bounds import rounded
from dtrain.tracing.node import Bounds

_PADDING = 64  # bytes: a cache line, and the unit in which ranks split a vector


@dataclass(frozen=True)
class Layout:
    """The position of each weight in a flat array.

    Attributes:
        shapes: the shape of each weight, by name, in sorted name order.
        dtype: the run's dtype.
        metrics: the number of values after loss and sample count in the tail.
        weighted: whether the first of these values is the sum of the samples' weights.
        bounds: the bounds of the weights that have some, by name.
    """

    shapes: Mapping[str, tuple[int, ...]]
    dtype: np.dtype[Any]
    metrics: int = 0
    weighted: bool = False
    bounds: Mapping[str, Bounds] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        shapes: Mapping[str, tuple[int, ...]],
        dtype: Any,
        metrics: int = 0,
        *,
        weighted: bool = False,
        bounds: Mapping[str, Bounds] | None = None,
    ) -> Layout:
        """Return the layout of weights of given shapes."""
        return cls(
            dict(sorted(shapes.items())),
            np.dtype(dtype),
            metrics,
            weighted,
            dict(bounds or {}),
        )

    @cached_property
    def offsets(self) -> dict[str, int]:
        """The offset of each weight's first element."""
        offsets, start = {}, 0
        for name, shape in self.shapes.items():
            offsets[name] = start
            start += math.prod(shape)
        return offsets

    @cached_property
    def parts(self) -> dict[str, slice]:
        """The range of each weight in a flat array."""
        return {
            name: slice(start, start + math.prod(self.shapes[name]))
            for name, start in self.offsets.items()
        }

    @cached_property
    def count(self) -> int:
        """The number of weights, as scalars."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @cached_property
    def size(self) -> int:
        """The length of a flat array, with padding."""
        unit = _PADDING // self.dtype.itemsize
        return -(-self.count // unit) * unit

    @cached_property
    def limits(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The lower and upper bounds: flat arrays, infinite where there are none."""
        low = np.full(self.size, -np.inf, self.dtype)
        high = np.full(self.size, np.inf, self.dtype)
        for name, stated in self.bounds.items():
            pair = rounded(stated, self.shapes[name], self.dtype)
            for limit, each in zip((low, high), pair, strict=True):
                limit[self.parts[name]] = each.reshape(-1)
        return low, high

    @property
    def tail(self) -> int:
        """The length of the tail."""
        return 2 + self.metrics

    @cached_property
    def digest(self) -> str:
        """SHA-256 of names, shapes and dtype."""
        return hashlib.sha256(self.describe().encode()).hexdigest()

    def describe(self) -> str:
        """Return names, shapes, dtype and what is in the tail, as text."""
        shapes = list(self.shapes.items())
        return repr((shapes, self.dtype.str, self.metrics, self.weighted))

    def divisor(self, tail: NDArray[np.float64]) -> float:
        """Return what a mean divides by: the sum of the samples' weights, or N."""
        return float(tail[2]) if self.weighted else int(tail[1])

    def zeros(self) -> NDArray[Any]:
        """Return a flat array of zeros.

        Raises:
            UsageError: if there is not enough memory; it names the largest weights.
        """
        try:
            return np.zeros(self.size, self.dtype)
        except (MemoryError, ValueError):  # ValueError: more than can be addressed
            largest = sorted(self.shapes.items(), key=lambda each: -math.prod(each[1]))
            named = ", ".join(f"{name} {shape}" for name, shape in largest[:3])
            size = self.size * self.dtype.itemsize / 2**30
            raise UsageError(
                f"there is not enough memory for the weights: {size:,.1f} GiB in "
                f"{self.dtype}; the largest: {named}"
            ) from None

    def views(self, flat: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return each weight's part of a flat array, in its shape."""
        return {
            name: flat[start : start + math.prod(shape)].reshape(shape)
            for (name, shape), start in zip(
                self.shapes.items(), self.offsets.values(), strict=True
            )
        }
