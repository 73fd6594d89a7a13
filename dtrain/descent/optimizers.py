"""Step rules: the formulas by which a gradient changes the weights.

w are the weights, g the gradient of the mean loss, η the learning rate, λ the weight
decay. Formulas are elementwise, except that of `lamb`, which is applied to each whole
weight. `dtrain.descent.rule` has the common parts.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np

from dtrain.descent.rule import Piece, Rule, Vector
from dtrain.errors import UsageError, unknown

__all__ = ["OPTIMIZERS", "Piece", "Rule", "adam", "adamw", "lamb", "rmsprop", "sgd"]


@dataclass(frozen=True, kw_only=True)
class sgd(Rule):
    """Gradient descent, as in the lecture, with optional momentum.

    b ← μ b + g, then w ← w − η b; with ``nesterov``, w ← w − η (g + μ b). This is
    Sutskever et al. 2013, eqs. 1–4, in PyTorch's form: η is not part of b, so a change
    of η takes effect at once. λ·w is added to g.

    Raises:
        UsageError: a setting is out of bounds, or ``nesterov`` is set without momentum.

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
        """The velocity b, if there is momentum."""
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
        UsageError: a setting is out of bounds.

    >>> weights = np.array([1.0, 2.0])
    >>> adam().start(weights).step(np.array([1.0, -100.0]), learning_rate=0.5)
    >>> weights.round(6)
    array([0.5, 2.5])

    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    squared: ClassVar[bool] = True

    @property
    def slots(self) -> tuple[str, ...]:
        """The moments m and v."""
        return ("first_moment", "second_moment")

    def update(self, piece: Piece, rate: float, count: int) -> None:
        """Change the weights of a piece (the formula above)."""
        direction = _adam_direction(self, piece, count)
        if self.decoupled and self.weight_decay:
            np.multiply(piece.weights, self.weight_decay, out=piece.scratch)
            np.add(direction, piece.scratch, out=direction)
        np.multiply(direction, rate, out=direction)
        np.subtract(piece.weights, direction, out=piece.weights)


@dataclass(frozen=True, kw_only=True)
class adamw(adam):
    """Adam with decoupled weight decay.

    w ← w − η (m̂ / (√v̂ + ε) + λ w), with moments of the gradient without decay:
    Loshchilov & Hutter 2019, algorithm 2, with α = 1 and the schedule as η.

    Raises:
        UsageError: a setting is out of bounds.

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
        UsageError: a setting is out of bounds.

    >>> weights = np.array([1.0, 2.0])
    >>> rmsprop(decay=0.75).start(weights).step(np.array([1.0, -9.0]), 0.5)
    >>> weights.round(6)
    array([0., 3.])

    """

    decay: float = 0.9
    epsilon: float = 1e-8
    momentum: float = 0.0

    squared: ClassVar[bool] = True

    @property
    def slots(self) -> tuple[str, ...]:
        """The mean square v, and the velocity b if there is momentum."""
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


@dataclass(frozen=True, kw_only=True)
class lamb(Rule):
    """LAMB: Adam's direction, scaled for each weight to the norm of the weight.

    With Adam's m̂ and v̂, r = m̂ / (√v̂ + ε) + λ w and, for each whole weight,
    w ← w − η (‖w‖ / ‖r‖) r; the ratio is 1 if a norm is 0: You et al. 2020,
    algorithm 2, with φ the identity.

    Raises:
        UsageError: a setting is out of bounds.

    >>> weights = np.array([3.0, 4.0])
    >>> lamb().start(weights).step(np.array([1.0, -100.0]), learning_rate=0.1)
    >>> weights.round(3)
    array([2.646, 4.354])

    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-6

    squared: ClassVar[bool] = True
    decoupled: ClassVar[bool] = True
    layerwise: ClassVar[bool] = True

    @property
    def slots(self) -> tuple[str, ...]:
        """The moments m and v."""
        return ("first_moment", "second_moment")

    def update(self, piece: Piece, rate: float, count: int) -> None:
        """Change one weight (the formula above)."""
        direction = _adam_direction(self, piece, count)
        if self.weight_decay:
            np.multiply(piece.weights, self.weight_decay, out=piece.scratch)
            np.add(direction, piece.scratch, out=direction)
        size, length = piece.norm(piece.weights), piece.norm(direction)
        ratio = size / length if size and length else 1.0
        np.multiply(direction, rate * ratio, out=direction)
        np.subtract(piece.weights, direction, out=piece.weights)


OPTIMIZERS: dict[str, type[Rule]] = {
    "adam": adam,
    "adamw": adamw,
    "lamb": lamb,
    "rmsprop": rmsprop,
    "sgd": sgd,
}


def named(rule: str | Rule, **options: Any) -> Rule:
    """Return the rule of that name, or the rule given, with these settings.

    Raises:
        UsageError: there is no such rule, it has no such setting, or a setting is out
            of bounds.

    >>> named("sgd", momentum=0.9)
    sgd(weight_decay=0.0, clip_norm=None, momentum=0.9, nesterov=False)

    """
    if isinstance(rule, str) and rule not in OPTIMIZERS:
        raise unknown("optimizer", rule, OPTIMIZERS, {"momentum": "sgd"})
    kind = OPTIMIZERS[rule] if isinstance(rule, str) else type(rule)
    settings = [field.name for field in fields(kind)]
    wrong = [option for option in options if option not in settings]
    if wrong:
        raise UsageError(
            f"{kind.__name__} has no setting {', '.join(wrong)}; it has "
            + ", ".join(settings)
        )
    return kind(**options) if isinstance(rule, str) else replace(rule, **options)


def _adam_direction(rule: adam | lamb, piece: Piece, count: int) -> Vector:
    """Update the moments; overwrite the gradient with m̂ / (√v̂ + ε) and return it."""
    gradient, scratch = piece.gradient, piece.scratch
    first, second = piece.slots["first_moment"], piece.slots["second_moment"]
    np.multiply(gradient, 1 - rule.beta1, out=scratch)
    np.multiply(first, rule.beta1, out=first)
    np.add(first, scratch, out=first)
    _average_of_squares(second, rule.beta2, gradient, scratch)
    np.divide(second, 1 - rule.beta2**count, out=scratch)
    np.sqrt(scratch, out=scratch)
    np.add(scratch, rule.epsilon, out=scratch)
    direction = gradient  # the moments contain the gradient now: reuse its memory
    np.divide(first, 1 - rule.beta1**count, out=direction)
    np.divide(direction, scratch, out=direction)
    return direction


def _average_of_squares(
    average: Vector, decay: float, gradient: Vector, scratch: Vector
) -> None:
    """Average ← decay · average + (1 − decay) · gradient²."""
    np.multiply(gradient, gradient, out=scratch)
    np.multiply(scratch, 1 - decay, out=scratch)
    np.multiply(average, decay, out=average)
    np.add(average, scratch, out=average)


def __dir__() -> list[str]:
    """List the public names, for tab completion."""
    return sorted(__all__)
