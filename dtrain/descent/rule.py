"""Step rules, and the descent of a vector of weights by a rule.

A `Rule` is a frozen set of settings with one formula (see `dtrain.descent.optimizers`).
`Rule.start` returns a `Descent`: the rule, the weights, and the state that a checkpoint
must hold.

Every rank takes the same step on the whole vector. The formulas use only operations
that IEEE 754 rounds correctly (+ − × ÷ √), so their bits depend neither on the number
of ranks nor on the processor; only the sum in a norm depends on NumPy's order. They are
applied to short pieces of the vector, so that the scratch memory is small, stays in the
cache and is allocated once. For a rule that needs whole weights, such as LAMB, a piece
is one weight.
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

# Elements per piece. Six arrays of float32 (weights, two slots, gradient, two of
# scratch) take 768 KB, which fits an L2 cache; shorter pieces need more calls.
PIECE = 32_768

# name: (lower bound, whether it is allowed itself, upper bound, never allowed)
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
    """The settings that all step rules have.

    The gradient is clipped, then decayed, then passed to the rule's formula.

    Class attributes:
        decoupled: whether the rule's formula applies the weight decay.
        layerwise: whether each piece is one whole weight instead of a short range.
        squared: whether the rule's state holds squares of the gradient.

    Attributes:
        weight_decay: λ; λ·w is added to the gradient (L2), or, if the rule is
            decoupled (`adamw`), to the update.
        clip_norm: a bound on the Euclidean norm of the whole gradient (Pascanu et al.
            2013, algorithm 1), or ``None``.

    Raises:
        UsageError: a setting is out of bounds, or not a number.

    """

    weight_decay: float = 0.0
    clip_norm: float | None = None

    decoupled: ClassVar[bool] = False
    layerwise: ClassVar[bool] = False
    squared: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            off = value is None and field.default is None
            if field.name in _BOUNDS and not off:
                # np.float64 would promote float32 arrays; a Python float does not.
                number = _bounded(type(self).__name__, field.name, value)
                object.__setattr__(self, field.name, number)

    def start(
        self,
        weights: Vector,
        parts: Mapping[str, slice] | None = None,
        factors: Mapping[str, float] | None = None,
    ) -> Descent:
        """Return the descent of a flat vector of weights by this rule.

        Args:
            weights: (W,), changed in place by every step.
            parts: the range of each weight in the vector, by name; by default the
                vector is one weight.
            factors: what multiplies the learning rate of a weight, by name; 1 unless
                given. A weight with the factor 0 does not move.

        Raises:
            ValueError: the weights are not one flat vector of floats.

        """
        return Descent(self, weights, parts, factors)

    @property
    @abstractmethod
    def slots(self) -> tuple[str, ...]:
        """The names of the rule's state vectors, (W,) each, initially zero."""

    @abstractmethod
    def update(self, piece: Piece, rate: float, count: int) -> None:
        """Change the weights of a piece; ``count`` numbers the step, from 1."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A range of the weights and the vectors that a rule needs, all of one length.

    Attributes:
        name: the weight's name, if the rule is layerwise.
        weights: a view of the weights.
        slots: views of the rule's state vectors, by name.
        gradient: a copy of the gradient, clipped and with the weight decay added; the
            rule may overwrite it.
        scratch: scratch memory for the rule.
        squares: scratch memory for `norm`.

    """

    name: str
    weights: Vector
    slots: dict[str, Vector]
    gradient: Vector
    scratch: Vector
    squares: NDArray[np.float64]

    def norm(self, vector: Vector) -> float:
        """Return the Euclidean norm of a vector of the piece's length.

        The order of the sum is fixed: see `_root`.
        """
        root, unit = _root(vector, self.squares)
        return root * unit


class Descent:
    """A rule, a flat vector of weights and the state of their descent.

    Attributes:
        rule: the settings and the formula.
        weights: (W,), changed in place by every step.
        state: the arrays that a checkpoint must hold: ``step``, a 0-d int64, and the
            rule's slots, (W,) each. To restore, copy into these arrays.

    """

    def __init__(
        self,
        rule: Rule,
        weights: Vector,
        parts: Mapping[str, slice] | None = None,
        factors: Mapping[str, float] | None = None,
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
        split = rule.layerwise or factors
        named = _moving(rule, (parts if split else whole) or whole, factors or {})
        longest = max((part.stop - part.start for _, part, _ in named), default=0)
        space = np.empty((2, longest), weights.dtype)
        self._squares = np.empty(min(PIECE, weights.size))
        self._pieces = []
        for name, part, factor in named:
            size = part.stop - part.start
            views = {slot: values[part] for slot, values in slots.items()}
            scratch = space[0, :size], space[1, :size], self._squares
            piece = Piece(name, weights[part], views, *scratch)
            self._pieces.append((part, piece, factor))

    def step(self, gradient: Vector, learning_rate: float) -> None:
        """Take one step down the gradient of the mean loss.

        Args:
            gradient: (W,), of the weights' dtype, finite; not changed.
            learning_rate: η of this step.

        Raises:
            ValueError: the gradient differs from the weights in shape or dtype.
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
        for part, piece, share in self._pieces:
            if unit == 1.0:
                np.multiply(gradient[part], factor, out=piece.gradient)
            else:
                np.divide(gradient[part], unit, out=piece.gradient)
                np.multiply(piece.gradient, factor, out=piece.gradient)
            if decay:
                np.multiply(piece.weights, decay, out=piece.scratch)
                np.add(piece.gradient, piece.scratch, out=piece.gradient)
            self.rule.update(piece, rate * share, count)

    def _clipping(self, gradient: Vector) -> tuple[float, float]:
        """Return a divisor and a factor for the gradient.

        They are two numbers because their quotient may underflow.
        """
        if self.rule.clip_norm is None:
            return 1.0, 1.0
        root, unit = _root(gradient, self._squares)
        bound = self.rule.clip_norm / unit
        return (1.0, 1.0) if root <= bound else (unit, self.rule.clip_norm / root)

    def norm(self, gradient: Vector) -> float:
        """Return the Euclidean norm of a gradient, (W,), as used for clipping."""
        root, unit = _root(gradient, self._squares)
        return root * unit


def _ranges(start: int, stop: int) -> list[slice]:
    """Return the ranges of PIECE elements that a range consists of."""
    return [slice(at, min(at + PIECE, stop)) for at in range(start, stop, PIECE)]


def _moving(
    rule: Rule, parts: Mapping[str, slice], factors: Mapping[str, float]
) -> list[tuple[str, slice, float]]:
    """Return the name, the range and the rate's factor of each piece that moves.

    A piece is a whole weight for a layerwise rule, else a short range.
    """
    return [
        (name, part, factor)
        for name, whole in parts.items()
        if (factor := factors.get(name, 1.0))
        for part in ([whole] if rule.layerwise else _ranges(whole.start, whole.stop))
        if part.stop > part.start
    ]


def _root(vector: Vector, squares: Vector) -> tuple[float, float]:
    """Return two factors whose product is the Euclidean norm, summed in float64.

    The order of the sum is fixed: NumPy's pairwise sum inside a range of PIECE
    elements, then range after range. A BLAS dot product would be faster, but its order
    depends on its threads. The second factor is 1 unless squares overflow; then it is
    the largest power of two below the largest element, because division by it is exact.
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
    for part in _ranges(0, vector.size):
        terms = squares[: part.stop - part.start]
        np.copyto(terms, vector[part])
        if unit != 1.0:
            np.divide(terms, unit, out=terms)
        np.multiply(terms, terms, out=terms)
        total += float(np.add.reduce(terms))
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
