"""Step rules: settings and a formula; and the rule at work on a vector of weights.

A `Rule` is a frozen set of settings and one formula (see `dtrain.descent.optimizers`).
`Rule.start` gives a `Descent`: the rule with the weights, and with the state that a
checkpoint must hold.

Every rank takes the whole step on the whole vector. The formulas use only operations
that IEEE 754 rounds correctly (+ − × ÷ √), so their bits depend neither on the number
of ranks nor on the processor; only the order of the sum in a norm is NumPy's. They run
over short pieces of the vector, so the scratch memory is small, stays in the cache and
is allocated once. A rule whose formula needs a whole weight, such as LAMB, gets one
weight as a piece.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dtrain.errors import UsageError

Vector = NDArray[np.floating[Any]]

# Elements per piece: six of float32 (weights, two slots, gradient, two scratch) take
# 768 KB, an L2 cache; shorter ones cost more calls.
PIECE = 32_768

# name: (smallest, whether that is allowed, first too large)
_BOUNDS = {
    "momentum": (0.0, True, 1.0),
    "decay": (0.0, True, 1.0),
    "beta1": (0.0, True, 1.0),
    "beta2": (0.0, True, 1.0),
    "epsilon": (0.0, False, math.inf),
    "weight_decay": (0.0, True, math.inf),
    "clip_norm": (0.0, False, math.inf),
}


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """The settings that all step rules share.

    A gradient is first clipped, then decayed, then passed to the rule's formula.

    Class attributes:
        decoupled: whether the rule applies the weight decay by itself.
        layerwise: whether each piece is one whole weight instead of a short stretch.

    Attributes:
        weight_decay: λ; λ·w is added to the gradient (L2), or, if the rule is
            decoupled (`adamw`), to the update.
        clip_norm: a bound on the Euclidean norm of the whole gradient (Pascanu et al.
            2013, algorithm 1), or ``None``.

    Raises:
        UsageError: a setting is out of its bounds, or no number.

    """

    weight_decay: float = 0.0
    clip_norm: float | None = None

    decoupled: ClassVar[bool] = False
    layerwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            off = value is None and field.default is None
            if field.name in _BOUNDS and not off:
                # NumPy gives way to a Python float, but not to its own np.float64.
                number = _bounded(type(self).__name__, field.name, value)
                object.__setattr__(self, field.name, number)

    def start(
        self, weights: Vector, parts: Mapping[str, slice] | None = None
    ) -> Descent:
        """Return this rule at work on a flat vector of weights, which it changes.

        Args:
            weights: (W,).
            parts: where each weight is in the vector, by name; by default the vector is
                one weight.

        Raises:
            ValueError: the weights are not one flat vector of floats.

        """
        return Descent(self, weights, parts)

    @property
    @abstractmethod
    def slots(self) -> tuple[str, ...]:
        """The names of the rule's state vectors, (W,) each; they start at zero."""

    @abstractmethod
    def update(self, piece: Piece, rate: float, count: int) -> None:
        """Change the weights of a piece; ``count`` is the step's number, from 1."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A stretch of the weights with what a rule needs there, all of one length.

    Attributes:
        name: the weight's name, if the rule is layerwise.
        weights: a view of the weights.
        slots: views of the rule's state, by name.
        gradient: the gradient, clipped and decayed; a copy, for the rule to overwrite.
        scratch: memory for the rule.
        squares: memory for `norm`.

    """

    name: str
    weights: Vector
    slots: dict[str, Vector]
    gradient: Vector
    scratch: Vector
    squares: NDArray[np.float64]

    def norm(self, vector: Vector) -> float:
        """Return the Euclidean norm of a vector as long as the piece."""
        root, unit = _root(vector, self.squares)
        return root * unit


class Descent:
    """A rule at work: a flat vector of weights and the state of their descent.

    Attributes:
        rule: the settings.
        weights: (W,), changed in place by every step.
        state: all that a checkpoint must hold: ``step``, a 0-d int64, and the rule's
            slots, (W,) each. To restore, copy into these arrays.

    """

    def __init__(
        self, rule: Rule, weights: Vector, parts: Mapping[str, slice] | None = None
    ) -> None:
        if weights.ndim != 1 or weights.dtype.kind != "f":
            raise ValueError(
                f"weights must be a flat vector of floats, not {weights.dtype} of "
                f"shape {weights.shape}"
            )
        self.rule = rule
        self.weights = weights
        slots = {name: np.zeros_like(weights) for name in rule.slots}
        self.state: dict[str, NDArray[Any]] = {"step": np.zeros((), np.int64), **slots}
        whole = {"": slice(0, weights.size)}
        named = (parts or whole).items() if rule.layerwise else _stretches(weights.size)
        named = [(name, part) for name, part in named if part.stop > part.start]
        longest = max((part.stop - part.start for _, part in named), default=0)
        space = np.empty((2, longest), weights.dtype)
        self._squares = np.empty(min(PIECE, weights.size))
        self._pieces = []
        for name, part in named:
            size = part.stop - part.start
            views = {slot: values[part] for slot, values in slots.items()}
            scratch = space[0, :size], space[1, :size], self._squares
            piece = Piece(name, weights[part], views, *scratch)
            self._pieces.append((part, piece))

    def step(self, gradient: Vector, learning_rate: float) -> None:
        """Take one step down the gradient of the mean loss.

        Args:
            gradient: (W,), of the weights' dtype, finite; it is not changed.
            learning_rate: η of this step.

        Raises:
            ValueError: the gradient has another shape or dtype than the weights.
            UsageError: the learning rate is negative or not finite.

        """
        if (gradient.shape, gradient.dtype) != (self.weights.shape, self.weights.dtype):
            raise ValueError(
                f"gradient is {gradient.dtype} {gradient.shape}, the weights are "
                f"{self.weights.dtype} {self.weights.shape}"
            )
        rate = float(learning_rate)
        if not (math.isfinite(rate) and rate >= 0):
            raise UsageError(f"the learning rate is {rate}, it must be finite and ≥ 0")
        self.state["step"] += 1
        count = int(self.state["step"])
        unit, factor = self._clipping(gradient)
        decay = 0.0 if self.rule.decoupled else self.rule.weight_decay
        for part, piece in self._pieces:
            if unit == 1.0:
                np.multiply(gradient[part], factor, out=piece.gradient)
            else:
                np.divide(gradient[part], unit, out=piece.gradient)
                np.multiply(piece.gradient, factor, out=piece.gradient)
            if decay:
                np.multiply(piece.weights, decay, out=piece.scratch)
                np.add(piece.gradient, piece.scratch, out=piece.gradient)
            self.rule.update(piece, rate, count)

    def _clipping(self, gradient: Vector) -> tuple[float, float]:
        """Return a divisor and a factor for the gradient.

        They are two numbers, because their quotient may be too small to represent.
        """
        if self.rule.clip_norm is None:
            return 1.0, 1.0
        root, unit = _root(gradient, self._squares)
        bound = self.rule.clip_norm / unit
        return (1.0, 1.0) if root <= bound else (unit, self.rule.clip_norm / root)

    def norm(self, gradient: Vector) -> float:
        """Return the Euclidean norm of a gradient, (W,), by which it is clipped."""
        root, unit = _root(gradient, self._squares)
        return root * unit


def _stretches(size: int) -> list[tuple[str, slice]]:
    """Return stretches of PIECE elements that make up a vector."""
    starts = range(0, size, PIECE)
    return [("", slice(start, min(start + PIECE, size))) for start in starts]


def _root(vector: Vector, squares: Vector) -> tuple[float, float]:
    """Return the Euclidean norm, summed in float64 in a fixed order, as a product.

    The order is NumPy's pairwise sum inside a stretch of PIECE elements, then stretch
    after stretch. A BLAS dot would be faster, but its order depends on its threads. The
    second factor is 1 unless squares overflow; then it is the power of two at the
    largest element, because dividing by it is exact.
    """
    with np.errstate(over="ignore"):
        total = _sum_of_squares(vector, squares, 1.0)
    if math.isinf(total):
        largest = max(float(np.max(vector)), -float(np.min(vector)))
        if math.isfinite(largest):
            unit = 2.0 ** (math.frexp(largest)[1] - 1)
            return math.sqrt(_sum_of_squares(vector, squares, unit)), unit
    return math.sqrt(total), 1.0


def _sum_of_squares(vector: Vector, squares: Vector, unit: float) -> float:
    total = 0.0
    for _, part in _stretches(vector.size):
        stretch = squares[: part.stop - part.start]
        np.copyto(stretch, vector[part])
        if unit != 1.0:
            np.divide(stretch, unit, out=stretch)
        np.multiply(stretch, stretch, out=stretch)
        total += float(np.add.reduce(stretch))
    return total


def _bounded(rule: str, name: str, value: object) -> float:
    """Return a setting as a float, or raise the UsageError that names it."""
    smallest, allowed, limit = _BOUNDS[name]
    bounds = f"{'≥' if allowed else '>'} {smallest:g} and < {limit:g}"
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise UsageError(f"{rule}: {name} is {value!r}, it must be a number {bounds}")
    number = float(value)
    if not (smallest < number < limit or (allowed and number == smallest)):
        raise UsageError(f"{rule}: {name} is {value}, it must be {bounds}")
    return number
