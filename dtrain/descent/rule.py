"""A step rule at work: one flat vector of weights, changed in place.

A `Rule` is a frozen set of settings and one formula (they are in
`dtrain.descent.optimizers`). `Rule.start` gives a `Descent`: the rule with the weights,
and with the state that a checkpoint must hold.

Every rank takes the whole step on the whole vector. The formulas use only operations
that IEEE 754 rounds correctly (+ − × ÷ √), so their bits depend neither on the rank
count nor on the processor; only the order of the sum in `Descent.norm` is NumPy's own.
And they run over short pieces of the vector, so the scratch space is small, stays in
cache and is never allocated again.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
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

    A gradient is first clipped, then decayed, then handed to the rule's formula.

    Attributes:
        weight_decay: λ; λ·w is added to the gradient (L2), or, where the rule decays by
            itself (`adamw`), to the update.
        clip_norm: a bound on the Euclidean norm of the whole gradient (Pascanu et al.
            2013, algorithm 1), or ``None``.

    Raises:
        UsageError: a setting is out of its bounds, or no number.

    """

    weight_decay: float = 0.0
    clip_norm: float | None = None

    decoupled: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            off = value is None and field.default is None
            if field.name in _BOUNDS and not off:
                # NumPy gives way to a Python float, but not to its own np.float64.
                number = _bounded(type(self).__name__, field.name, value)
                object.__setattr__(self, field.name, number)

    def start(self, weights: Vector) -> Descent:
        """Return this rule at work on a flat vector of weights, which it changes.

        Raises:
            ValueError: the weights are not one flat vector of floats.

        """
        return Descent(self, weights)

    @property
    @abstractmethod
    def slots(self) -> tuple[str, ...]:
        """The names of the vectors that the rule remembers; they start at zero."""

    @abstractmethod
    def update(self, piece: Piece, rate: float, count: int) -> None:
        """Change the weights of a piece; ``count`` is the step's number, from 1."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A stretch of the weights with what a rule needs there, all of one length.

    Attributes:
        weights: a view of the weights.
        slots: views of what the rule remembers, by name.
        gradient: the gradient, clipped and decayed; a copy, for the rule to overwrite.
        scratch: space for the rule.

    """

    weights: Vector
    slots: dict[str, Vector]
    gradient: Vector
    scratch: Vector


class Descent:
    """A rule at work: a flat vector of weights and the state of their descent.

    Attributes:
        rule: the settings.
        weights: (W,), changed in place by every step.
        state: all that a checkpoint must hold: ``step``, a 0-d int64, and the rule's
            slots, (W,) each. To restore, copy into these arrays.

    """

    def __init__(self, rule: Rule, weights: Vector) -> None:
        if weights.ndim != 1 or weights.dtype.kind != "f":
            raise ValueError(
                f"weights must be a flat vector of floats, not {weights.dtype} of "
                f"shape {weights.shape}"
            )
        self.rule = rule
        self.weights = weights
        slots = {name: np.zeros_like(weights) for name in rule.slots}
        self.state: dict[str, NDArray[Any]] = {"step": np.zeros((), np.int64), **slots}
        self._squares = np.empty(min(PIECE, weights.size))
        space = np.empty((2, self._squares.size), weights.dtype)
        self._pieces = []
        for start in range(0, weights.size, PIECE):
            part = slice(start, min(start + PIECE, weights.size))
            size = part.stop - part.start
            views = {name: slot[part] for name, slot in slots.items()}
            piece = Piece(weights[part], views, space[0, :size], space[1, :size])
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
        """What a gradient is divided by, and what it is then multiplied by.

        These are two numbers, since their quotient may be too small to be one.
        """
        if self.rule.clip_norm is None:
            return 1.0, 1.0
        root, unit = self._root(gradient)
        bound = self.rule.clip_norm / unit
        return (1.0, 1.0) if root <= bound else (unit, self.rule.clip_norm / root)

    def norm(self, gradient: Vector) -> float:
        """Return the Euclidean norm of a gradient, (W,), summed in float64.

        The order is fixed: NumPy's pairwise sum inside a piece, then piece after piece.
        A BLAS dot would be faster, but its order depends on its threads.
        """
        root, unit = self._root(gradient)
        return root * unit

    def _root(self, gradient: Vector) -> tuple[float, float]:
        """The norm as a product, whose second factor is 1 unless squares overflow.

        It is then the power of two at the largest element: dividing by it is exact.
        """
        with np.errstate(over="ignore"):
            total = self._sum_of_squares(gradient, 1.0)
        if math.isinf(total):
            largest = max(float(np.max(gradient)), -float(np.min(gradient)))
            if math.isfinite(largest):
                unit = 2.0 ** (math.frexp(largest)[1] - 1)
                return math.sqrt(self._sum_of_squares(gradient, unit)), unit
        return math.sqrt(total), 1.0

    def _sum_of_squares(self, gradient: Vector, unit: float) -> float:
        total = 0.0
        for part, _ in self._pieces:
            squares = self._squares[: part.stop - part.start]
            np.copyto(squares, gradient[part])
            if unit != 1.0:
                np.divide(squares, unit, out=squares)
            np.multiply(squares, squares, out=squares)
            total += float(np.add.reduce(squares))
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
