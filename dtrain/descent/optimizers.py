"""Step rules: how a gradient changes the weights.

A rule is a frozen set of settings and one formula. `Rule.start` gives a `Descent`: the
rule at work on one flat vector of weights, with the state that a checkpoint must hold.

Every rank takes the whole step on the whole vector. The formulas use only operations
that IEEE 754 rounds correctly (+ − × ÷ √), so their bits depend neither on the rank
count nor on the processor; and they run over short pieces of the vector, so the scratch
space is small, stays in cache and is never allocated again.
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

# Elements per piece: six float64 pieces (weights, two slots, gradient, two scratch)
# take 768 KB, an L2 cache.
PIECE = 16_384

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
        factor = self._clip_factor(gradient)
        decay = 0.0 if self.rule.decoupled else self.rule.weight_decay
        for part, piece in self._pieces:
            np.multiply(gradient[part], factor, out=piece.gradient)
            if decay:
                np.multiply(piece.weights, decay, out=piece.scratch)
                np.add(piece.gradient, piece.scratch, out=piece.gradient)
            self.rule.update(piece, rate, count)

    def _clip_factor(self, gradient: Vector) -> float:
        if self.rule.clip_norm is None:
            return 1.0
        norm = self.norm(gradient)
        return 1.0 if norm <= self.rule.clip_norm else self.rule.clip_norm / norm

    def norm(self, gradient: Vector) -> float:
        """Return the Euclidean norm of a gradient, (W,), summed in float64.

        The order is fixed: NumPy's pairwise sum inside a piece, then piece after piece.
        A BLAS dot would be faster, but its order depends on its threads.
        """
        total = 0.0
        for part, _ in self._pieces:
            squares = self._squares[: part.stop - part.start]
            np.copyto(squares, gradient[part])
            np.multiply(squares, squares, out=squares)
            total += float(np.add.reduce(squares))
        return math.sqrt(total)


@dataclass(frozen=True, kw_only=True)
class sgd(Rule):
    """Gradient descent, as in the lecture, with momentum if asked for.

    b ← μ b + g, then w ← w − η b; with ``nesterov``, w ← w − η (g + μ b). This is
    Sutskever et al. 2013, eqs. 1–4, in PyTorch's form: η stays outside b, so that a
    change of η acts at once. λ·w is added to g.

    Raises:
        UsageError: a setting is out of its bounds, or Nesterov has no momentum.

    >>> weights = np.array([1.0, 2.0])
    >>> sgd().start(weights).step(np.array([1.0, -1.0]), learning_rate=0.5)
    >>> weights
    array([0.5, 2.5])

    """

    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and not self.momentum:
            raise UsageError("sgd: nesterov needs a momentum above 0, such as 0.9")

    @property
    def slots(self) -> tuple[str, ...]:
        """The velocity b, where there is momentum."""
        return ("velocity",) if self.momentum else ()

    def update(self, piece: Piece, rate: float, count: int) -> None:  # noqa: ARG002
        """Change the weights of a piece (the formula above)."""
        direction = piece.gradient
        if self.momentum:
            velocity = piece.slots["velocity"]
            np.multiply(velocity, self.momentum, out=velocity)
            np.add(velocity, piece.gradient, out=velocity)
            direction = velocity
        if self.nesterov:
            np.multiply(direction, self.momentum, out=piece.scratch)
            np.add(piece.scratch, piece.gradient, out=piece.scratch)
            direction = piece.scratch
        np.multiply(direction, rate, out=piece.scratch)
        np.subtract(piece.weights, piece.scratch, out=piece.weights)


@dataclass(frozen=True, kw_only=True)
class adam(Rule):
    """Adam: steps scaled by running moments of the gradient.

    m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g²; then, at step t,
    w ← w − η m̂ / (√v̂ + ε) with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ): Kingma & Ba
    2015, algorithm 1. λ·w is added to g.

    Raises:
        UsageError: a setting is out of its bounds.

    >>> weights = np.array([1.0, 2.0])
    >>> adam().start(weights).step(np.array([1.0, -100.0]), learning_rate=0.5)
    >>> weights.round(6)
    array([0.5, 2.5])

    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    @property
    def slots(self) -> tuple[str, ...]:
        """The moments m and v."""
        return ("first_moment", "second_moment")

    def update(self, piece: Piece, rate: float, count: int) -> None:
        """Change the weights of a piece (the formula above)."""
        gradient, scratch = piece.gradient, piece.scratch
        first, second = piece.slots["first_moment"], piece.slots["second_moment"]
        np.multiply(gradient, 1 - self.beta1, out=scratch)
        np.multiply(first, self.beta1, out=first)
        np.add(first, scratch, out=first)
        _average_of_squares(second, self.beta2, gradient, scratch)
        np.divide(second, 1 - self.beta2**count, out=scratch)
        np.sqrt(scratch, out=scratch)
        np.add(scratch, self.epsilon, out=scratch)
        direction = gradient  # the gradient is in the moments now: reuse its space
        np.divide(first, 1 - self.beta1**count, out=direction)
        np.divide(direction, scratch, out=direction)
        if self.decoupled and self.weight_decay:
            np.multiply(piece.weights, self.weight_decay, out=scratch)
            np.add(direction, scratch, out=direction)
        np.multiply(direction, rate, out=direction)
        np.subtract(piece.weights, direction, out=piece.weights)


@dataclass(frozen=True, kw_only=True)
class adamw(adam):
    """Adam with decoupled weight decay.

    w ← w − η (m̂ / (√v̂ + ε) + λ w), the moments from the undecayed gradient:
    Loshchilov & Hutter 2019, algorithm 2, where α is 1 and the schedule is η.

    Raises:
        UsageError: a setting is out of its bounds.

    >>> weights = np.array([1.0, 2.0])
    >>> adamw(weight_decay=0.1).start(weights).step(np.zeros(2), learning_rate=0.5)
    >>> weights
    array([0.95, 1.9 ])

    """

    weight_decay: float = 0.01

    decoupled: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class rmsprop(Rule):
    """RMSProp: steps scaled by a running root mean square of the gradient.

    v ← α v + (1 − α) g², b ← μ b + g / (√v + ε), w ← w − η b, with α the ``decay``:
    Tieleman & Hinton 2012 (Coursera lecture 6.5), with PyTorch's ε and momentum. λ·w is
    added to g.

    Raises:
        UsageError: a setting is out of its bounds.

    >>> weights = np.array([1.0, 2.0])
    >>> rmsprop(decay=0.75).start(weights).step(np.array([1.0, -9.0]), 0.5)
    >>> weights.round(6)
    array([0., 3.])

    """

    decay: float = 0.9
    epsilon: float = 1e-8
    momentum: float = 0.0

    @property
    def slots(self) -> tuple[str, ...]:
        """The mean square v, and the velocity b where there is momentum."""
        return ("mean_square", "velocity") if self.momentum else ("mean_square",)

    def update(self, piece: Piece, rate: float, count: int) -> None:  # noqa: ARG002
        """Change the weights of a piece (the formula above)."""
        mean_square, direction = piece.slots["mean_square"], piece.gradient
        _average_of_squares(mean_square, self.decay, direction, piece.scratch)
        np.sqrt(mean_square, out=piece.scratch)
        np.add(piece.scratch, self.epsilon, out=piece.scratch)
        np.divide(direction, piece.scratch, out=direction)
        if self.momentum:
            velocity = piece.slots["velocity"]
            np.multiply(velocity, self.momentum, out=velocity)
            np.add(velocity, direction, out=velocity)
            direction = velocity
        np.multiply(direction, rate, out=piece.scratch)
        np.subtract(piece.weights, piece.scratch, out=piece.weights)


OPTIMIZERS: dict[str, type[Rule]] = {
    "adam": adam,
    "adamw": adamw,
    "rmsprop": rmsprop,
    "sgd": sgd,
}


def named(name: str, **options: Any) -> Rule:
    """Return the rule of that name with these settings.

    Raises:
        UsageError: there is no such rule, it has no such setting, or a setting is out
            of its bounds.

    >>> named("sgd", momentum=0.9)
    sgd(weight_decay=0.0, clip_norm=None, momentum=0.9, nesterov=False)

    """
    if name not in OPTIMIZERS:
        raise UsageError(
            f"no optimizer is named {name!r}; there are " + ", ".join(OPTIMIZERS)
        )
    settings = [field.name for field in fields(OPTIMIZERS[name])]
    unknown = [option for option in options if option not in settings]
    if unknown:
        raise UsageError(
            f"{name} has no setting {', '.join(unknown)}; it has {', '.join(settings)}"
        )
    return OPTIMIZERS[name](**options)


def _average_of_squares(
    average: Vector, decay: float, gradient: Vector, scratch: Vector
) -> None:
    """Average ← decay · average + (1 − decay) · gradient²."""
    np.multiply(gradient, gradient, out=scratch)
    np.multiply(scratch, 1 - decay, out=scratch)
    np.multiply(average, decay, out=average)
    np.add(average, scratch, out=average)


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
