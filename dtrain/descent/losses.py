"""Losses: a loss of each sample, summed over the samples and scaled once.

The lecture's loss is the mean square error. Its GradientVector sums (t − R) ∂R/∂W over
the samples and is scaled by −2/N at the end. So the adjoint that enters the program's
output R is t − R. The other losses with targets follow this convention: the adjoint is
minus the derivative of the loss by R, and the scale is −1/N.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.descent.loss import Loss, Target
from dtrain.descent.metrics import Accuracy, Errors, Metric, largest, one_hot, positive
from dtrain.errors import ProgramError, UsageError, unknown
from dtrain.functions.base import Shape
from dtrain.functions.transcendental import sigmoid
from dtrain.tracing.padded import by_rows

__all__ = [
    "LOSSES",
    "AbsoluteError",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Huber",
    "Loss",
    "Mean",
    "SquareError",
    "Target",
]


def total(x: Any, present: Any) -> Any:
    """Sum the elements of a sample, of those rows that are present; None for all."""
    if present is None:
        return np.sum(x)
    return np.sum(x, where=by_rows(present, np.ndim(x)))


class _WithTarget:
    """A loss that compares outputs with targets."""

    takes_target = True

    def scale(self, samples: float) -> float:
        """Return −1/N."""
        return -1.0 / samples


class _OfErrors(_WithTarget):
    """A loss of the errors t − R, elementwise."""

    def target(self, output: Shape, given: Shape | None) -> Target:  # noqa: ARG002
        """Return a target of the output's shape."""
        return Target(output)

    def metric(self, targets: NDArray[Any]) -> Metric:
        """Return the accuracy for one-hot targets, otherwise RMSE and R²."""
        return Accuracy(largest) if one_hot(targets) else Errors.about(targets)


@dataclass(frozen=True)
class SquareError(_OfErrors):
    """Σ (t − R)² over the output (lecture, "Parameter optimization").

    ∂Loss/∂W = −2/N Σ (t − R) ∂R/∂W.
    """

    name = "square"

    def of_sample(
        self, output: Any, target: Any, present: Any = None
    ) -> tuple[Any, Any]:
        """Return Σ (t − R)², and t − R."""
        error = target - output
        return total(np.square(error), present), error

    def scale(self, samples: float) -> float:
        """Return −2/N."""
        return -2.0 / samples


@dataclass(frozen=True)
class AbsoluteError(_OfErrors):
    """Σ |t − R| over the output; the derivative at t = R is 0.

    ∂Loss/∂W = −1/N Σ sign(t − R) ∂R/∂W.
    """

    name = "absolute"

    def of_sample(
        self, output: Any, target: Any, present: Any = None
    ) -> tuple[Any, Any]:
        """Return Σ |t − R|, and the signs of t − R."""
        error = target - output
        return total(np.abs(error), present), np.sign(error)


@dataclass(frozen=True)
class Huber(_OfErrors):
    """Squares of small errors, absolute values of large ones (Huber, 1964, eq. 3.5).

    Σ ½ e² if |e| ≤ δ, otherwise Σ δ (|e| − ½ δ), for e = t − R. With c = e clipped to
    [−δ, δ], both are c (e − ½ c), whose derivative by e is c:
    ∂Loss/∂W = −1/N Σ c ∂R/∂W.

    Attributes:
        delta: δ, the largest error that is squared.

    Raises:
        UsageError: δ is not finite and > 0.
    """

    delta: float = 1.0
    name = "huber"

    def __post_init__(self) -> None:
        """Check δ."""
        number = isinstance(self.delta, Real) and not isinstance(self.delta, bool)
        if not (number and math.isfinite(self.delta) and self.delta > 0):
            raise UsageError(f"delta is {self.delta!r}; it must be finite and > 0")

    def of_sample(
        self, output: Any, target: Any, present: Any = None
    ) -> tuple[Any, Any]:
        """Return Σ c (e − ½ c), and c."""
        error = target - output
        cut = np.maximum(np.minimum(error, self.delta), -self.delta)
        return total(cut * (error - 0.5 * cut), present), cut


@dataclass(frozen=True)
class CrossEntropy(_WithTarget):
    """−Σ_k t_k log p_k for the probabilities p = softmax(R) along the last axis.

    The output holds logits. A target is the label of a class (an integer), or a
    probability t_k for each class (such as one-hot). With s = R − max R no exponential
    overflows: the loss is log Σ exp s − Σ t s, and
    ∂Loss/∂W = −1/N Σ (t − p) ∂R/∂W (Bridle, 1990; Bishop, 2006, eq. 4.109).
    """

    name = "cross_entropy"

    def target(self, output: Shape, given: Shape | None) -> Target:
        """Return a label, or probabilities if the data have the output's shape.

        Raises:
            ProgramError: there are fewer than two classes.
        """
        if not output or output[-1] < 2:
            raise ProgramError(
                f"loss {self.name!r} takes a program that returns a logit for each of "
                f"two or more classes; the output of this program has shape {output}; "
                "for one logit use 'binary_cross_entropy'"
            )
        if given == output:
            return Target(output, 0, 1, shares=True)
        return Target(output[:-1], 0, output[-1] - 1, labels=True)

    def of_sample(
        self, output: Any, target: Any, present: Any = None
    ) -> tuple[Any, Any]:
        """Return log Σ exp s − Σ t s, and t − p."""
        shifted = output - np.max(output, axis=-1, keepdims=True)
        powers = np.exp(shifted)
        sums = np.sum(powers, axis=-1, keepdims=True)
        # `where` instead of a product: a logit of −∞ would give 0 · ∞.
        if target.shape == output.shape:
            chosen = np.where(np.greater(target, 0), target * shifted, 0)
        else:
            target = np.equal(target[..., None], np.arange(output.shape[-1]))
            chosen = np.where(target, shifted, 0)
        loss = total(np.log(sums), present) - total(chosen, present)
        return loss, target - powers / sums

    def metric(self, targets: NDArray[Any]) -> Metric:  # noqa: ARG002
        """Return the accuracy."""
        return Accuracy(largest)


@dataclass(frozen=True)
class BinaryCrossEntropy(_WithTarget):
    """−Σ (t log p + (1 − t) log(1 − p)) over the output's logits R, p = σ(R).

    A target is 0, 1 or a probability between. With m = max(R, 0) no exponential
    overflows: the loss is m − t R + log(1 + exp(R − 2m)), because |R| = 2m − R, and
    ∂Loss/∂W = −1/N Σ (t − p) ∂R/∂W (Bishop, 2006, eq. 4.91).
    """

    name = "binary_cross_entropy"

    def target(self, output: Shape, given: Shape | None) -> Target:  # noqa: ARG002
        """Return a probability for each logit."""
        return Target(output, 0, 1)

    def of_sample(
        self, output: Any, target: Any, present: Any = None
    ) -> tuple[Any, Any]:
        """Return Σ m − t R + log(1 + exp(R − 2m)), and t − p."""
        larger = np.maximum(output, 0)
        rest = np.log1p(np.exp(output - 2 * larger))
        loss = total(larger - target * output + rest, present)
        return loss, target - sigmoid(output)

    def metric(self, targets: NDArray[Any]) -> Metric | None:
        """Return the accuracy if each target is 0 or 1."""
        return Accuracy(positive) if np.isin(targets, (0, 1)).all() else None


@dataclass(frozen=True)
class Mean:
    """The program's output, which is the loss of the sample."""

    name = "mean"
    takes_target = False

    def target(self, output: Shape, given: Shape | None) -> None:
        """Return ``None``: there is no target.

        Raises:
            UsageError: the data have targets, which the loss would ignore.
            ProgramError: the output is not a scalar.
        """
        if given is not None:
            raise UsageError(
                "loss 'mean' compares nothing with targets: give no targets, or make "
                "them an input of the program, which returns the loss itself"
            )
        if output != ():
            raise ProgramError(
                "loss 'mean' takes a program whose output is one number, the loss of a "
                f"sample; the output of this program has shape {output}"
            )

    def of_sample(
        self,
        output: Any,
        target: Any,  # noqa: ARG002
        present: Any = None,  # noqa: ARG002
    ) -> tuple[Any, Any]:
        """Return the output, and 1."""
        return output, 1.0

    def scale(self, samples: float) -> float:
        """Return 1/N."""
        return 1.0 / samples

    def metric(self, targets: NDArray[Any]) -> None:
        """Return ``None``: there are no targets."""


_ALL: tuple[Loss, ...] = (
    SquareError(),
    AbsoluteError(),
    Huber(),
    CrossEntropy(),
    BinaryCrossEntropy(),
    Mean(),
)
LOSSES: dict[str, Loss] = {loss.name: loss for loss in _ALL}
_ALIASES = {
    **dict.fromkeys(("mse", "l2", "squared_error", "mean_squared_error"), "square"),
    **dict.fromkeys(("mae", "l1", "mean_absolute_error"), "absolute"),
    **dict.fromkeys(("bce", "log_loss", "logistic"), "binary_cross_entropy"),
    **dict.fromkeys(("ce", "nll", "crossentropy", "softmax"), "cross_entropy"),
    "smooth_l1": "huber",
}
"""What other libraries call these losses."""


def named(loss: str | Loss) -> Loss:
    """Return the loss of that name, or the loss given.

    Raises:
        UsageError: there is no such loss.
    """
    if not isinstance(loss, str):
        if not hasattr(loss, "of_sample"):
            raise UsageError(
                f"loss is {loss!r}; give a name or one of dtrain.losses, such as "
                "losses.Huber(delta=0.5)"
            )
        return loss
    if loss not in LOSSES:
        raise unknown("loss", loss, LOSSES, _ALIASES)
    return LOSSES[loss]


def name_of(loss: Loss) -> str:
    """Return the name by which `named` returns a loss; empty if it has none."""
    return loss.name if LOSSES.get(loss.name) == loss else ""


def __dir__() -> list[str]:
    """List the public names, for tab completion."""
    return sorted(__all__)
