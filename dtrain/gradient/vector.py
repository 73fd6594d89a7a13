"""The GradientVector: every weight's derivative in one flat array, and a tail.

Weights, gradients and optimizer state share one layout: the weights in sorted name
order, each in C order, without gaps, padded with zeros to a multiple of 64 bytes. The
tail holds the sums that are float64 in every run: loss, sample count and metrics.
"""

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
from dtrain.tracing.bounds import project, rounded
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


def not_finite(values: Mapping[str, NDArray[Any]]) -> list[str]:
    """Return the names of arrays that hold infinities or NaN."""
    return [name for name, value in values.items() if not np.isfinite(value).all()]


def _number(name: str, given: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the value given for a weight as an array.

    Raises:
        UsageError: if it is not an array of real numbers of the weight's shape.
    """
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise UsageError(f"weight {name!r} has masked elements: fill them")
    value = np.asarray(given)
    if value.dtype.kind not in "biuf":
        raise UsageError(f"weight {name!r} must hold finite real numbers")
    if value.shape != shape:
        raise UsageError(
            f"weight {name!r} has shape {value.shape}, but the program's has {shape}"
        )
    return value


class Weights:
    """The values of all weights, in one flat array.

    Attributes:
        layout: the position of each weight.
        flat: the array; only an optimizer changes it, and increments `version`.
        version: the number of changes of the values so far.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.flat = layout.zeros()
        self.version = 0
        self.values = layout.views(self.flat)

    def assign(self, values: Mapping[str, Any]) -> None:
        """Set all weights.

        Raises:
            UsageError: if a name is missing or unknown, if a shape differs, or if a
                value is not finite or overflows the layout's dtype. The weights are
                then unchanged.
        """
        if not isinstance(values, Mapping):
            raise UsageError(
                "weights must be a mapping of names to arrays; dtrain.load(path) reads "
                "one from a file"
            )
        for name in sorted(set(values) ^ set(self.values)):
            kind = "no weight of the program" if name in values else "missing"
            raise UsageError(
                f"weight {name!r} is {kind}; the program has {', '.join(self.values)}"
            )
        before = self.flat.copy()
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                for name, view in self.values.items():
                    view[...] = _number(name, values[name], view.shape)
            if not np.isfinite(self.flat).all():  # one pass: most values are finite
                self._refuse_infinite(values)
        except UsageError:
            self.flat[...] = before
            raise
        self.version += 1

    def _refuse_infinite(self, values: Mapping[str, Any]) -> None:
        """Raise the UsageError for the first value that is not finite."""
        for name, view in self.values.items():
            if not np.isfinite(np.asarray(values[name])).all():
                raise UsageError(f"weight {name!r} must hold finite real numbers")
            if not np.isfinite(view).all():
                raise UsageError(f"weight {name!r} is too large for {view.dtype}")

    def project(self) -> None:
        """Move each number that is outside the weights' bounds to the nearest bound."""
        if self.layout.bounds:
            project(self.flat, *self.layout.limits)
            self.version += 1

    def copies(self) -> dict[str, NDArray[Any]]:
        """Return a copy of each weight, by name."""
        return {name: view.copy() for name, view in self.values.items()}

    @property
    def digest(self) -> str:
        """SHA-256 over names, dtypes, shapes and little-endian bytes, in name order."""
        digest = hashlib.sha256()
        for name, view in self.values.items():
            little = view.astype(view.dtype.newbyteorder("<"), copy=False)
            shape = ",".join(map(str, view.shape))
            for part in (name, little.dtype.str, shape):
                digest.update(part.encode() + b"\0")
            digest.update(little.tobytes())
        return digest.hexdigest()


class GradientVector:
    """Sums over samples: of each weight's derivative, the loss, and the count.

    Attributes:
        layout: the position of each weight's derivative.
        slots: memory for the flat array of derivatives, in the run's dtype.
        flat: the derivatives: `slots`, or a read-only array of another object.
        tail: loss, sample count and metrics, in float64.
        level: always 0; makes the vector a leaf of the canonical tree.
    """

    level = 0

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.slots = self.flat = layout.zeros()
        self.tail = np.zeros(layout.tail)

    @property
    def values(self) -> dict[str, NDArray[Any]]:
        """Each weight's derivative, by name: views of the flat array."""
        return self.layout.views(self.flat)

    @property
    def samples(self) -> int:
        """The number of samples in the sum."""
        return int(self.tail[1])

    @property
    def divisor(self) -> float:
        """The sum of the samples' weights; without weights, the number of samples."""
        return self.layout.divisor(self.tail)

    @property
    def loss(self) -> float:
        """The mean loss of the samples; 0 if there are none that count."""
        return float(self.tail[0] / self.divisor) if self.divisor else 0.0

    @property
    def metrics(self) -> NDArray[np.float64]:
        """The sums of the metrics over the samples."""
        return self.tail[3:] if self.layout.weighted else self.tail[2:]

    def receive(self, slots: NDArray[Any]) -> None:
        """Refer to another object's sum of derivatives, without a copy."""
        self.flat = slots

    def scale(self, factor: float) -> None:
        """Multiply the derivatives by a factor, such as the lecture's −2/N.

        Loss and count stay sums.
        """
        self.flat = np.multiply(self.flat, factor, out=self.slots)

    def add(self, slots: NDArray[Any]) -> None:
        """Add to the derivatives."""
        self.flat = np.add(self.flat, slots, out=self.slots)

    def finite(self, *, squares: bool = False) -> bool:
        """Return whether the loss and all derivatives are finite.

        Args:
            squares: whether the squares of the derivatives must be finite as well, in
                the dtype of the vector.
        """
        if not math.isfinite(self.tail[0]):
            return False
        # One pass suffices unless the square overflows; then test each element.
        with np.errstate(all="ignore"):
            square = float(np.dot(self.flat, self.flat))
            if math.isfinite(square):
                return True
            terms = np.square(self.flat) if squares else self.flat
        return bool(np.isfinite(terms).all())
