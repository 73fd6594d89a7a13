"""What is minimised: a loss of each sample, summed, and scaled once.

The lecture's loss is the mean square error. Its GradientVector sums (t − R) ∂R/∂W over
the samples and is scaled by −2/N at the end; so the adjoint that enters the program's
output is t − R, not its derivative. The other losses with targets keep to this: what
enters the output R says by how much it should grow, and the scale is −1/N.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dtrain.descent.metrics import Accuracy, Errors, Metric, largest, one_hot, positive
from dtrain.descent.targets import Target
from dtrain.errors import ProgramError, UsageError, unknown
from dtrain.functions.base import Shape
from dtrain.functions.transcendental import sigmoid

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


class Loss(Protocol):
    """A loss: how one sample's loss and the output's adjoint are computed."""

    @property
    def name(self) -> str:
        """Its name in `LOSSES`."""

    @property
    def takes_target(self) -> bool:
        """Whether outputs are compared with targets."""

    def target(self, output: Shape, given: Shape | None) -> Target | None:
        """What one sample's target is, or ``None`` if there is none.

        Args:
            output: the shape of the program's output.
            given: the shape of the targets that there are, if it is known.

        Raises:
            ProgramError: if the loss takes no such output.
        """

    def of_sample(self, output: Any, target: Any) -> tuple[Any, Any]:
        """One sample's loss, and the adjoint that enters its output."""

    def scale(self, samples: int) -> float:
        """What the summed GradientVector is multiplied by, once."""

    def metric(self, targets: NDArray[Any]) -> Metric | None:
        """What else says how well outputs fit these targets."""


class _OfErrors:
    """A loss of the errors t − R, element by element."""

    takes_target = True

    def target(self, output: Shape, given: Shape | None) -> Target:  # noqa: ARG002
        """A target has the output's shape."""
        return Target(output)

    def scale(self, samples: int) -> float:
        """−1/N."""
        return -1.0 / samples

    def metric(self, targets: NDArray[Any]) -> Metric:
        """The accuracy of one-hot targets, else RMSE and R²."""
        return Accuracy(largest) if one_hot(targets) else Errors.about(targets)


@dataclass(frozen=True)
class SquareError(_OfErrors):
    """Σ (t − R)² over the output (lecture, "Parameter optimization").

    ∂Loss/∂W = −2/N Σ (t − R) ∂R/∂W.
    """

    name = "square"

    def of_sample(self, output: Any, target: Any) -> tuple[Any, Any]:
        """Σ (t − R)², and t − R."""
        error = target - output
        return np.sum(np.square(error)), error

    def scale(self, samples: int) -> float:
        """−2/N."""
        return -2.0 / samples


@dataclass(frozen=True)
class AbsoluteError(_OfErrors):
    """Σ |t − R| over the output; where t = R the derivative is 0.

    ∂Loss/∂W = −1/N Σ sign(t − R) ∂R/∂W.
    """

    name = "absolute"

    def of_sample(self, output: Any, target: Any) -> tuple[Any, Any]:
        """Σ |t − R|, and the signs of t − R."""
        error = target - output
        return np.sum(np.abs(error)), np.sign(error)


@dataclass(frozen=True)
class Huber(_OfErrors):
    """Squares of small errors, absolute values of large ones (Huber, 1964, eq. 3.5).

    Σ ½ e² where |e| ≤ δ, else δ (|e| − ½ δ), for e = t − R. With c = e, cut to [−δ, δ],
    both are c (e − ½ c), whose derivative by e is c:
    ∂Loss/∂W = −1/N Σ c ∂R/∂W.

    Attributes:
        delta: δ, from where on an error counts as large.
    """

    delta: float = 1.0
    name = "huber"

    def __post_init__(self) -> None:
        """Refuse a δ that is no size of errors."""
        number = isinstance(self.delta, Real) and not isinstance(self.delta, bool)
        if not (number and math.isfinite(self.delta) and self.delta > 0):
            raise UsageError(f"delta is {self.delta!r}; it must be finite and > 0")

    def of_sample(self, output: Any, target: Any) -> tuple[Any, Any]:
        """Σ c (e − ½ c), and c."""
        error = target - output
        cut = np.maximum(np.minimum(error, self.delta), -self.delta)
        return np.sum(cut * (error - 0.5 * cut)), cut


@dataclass(frozen=True)
class CrossEntropy:
    """−Σ_k t_k log p_k for the shares p = softmax(R) of the last axis's classes.

    The output holds logits; a target is a class's label, a whole number, or one-hot, or
    shares t_k that sum to 1. With s = R − max R no exponential overflows: the loss is
    log Σ exp s − Σ t s, and (Bridle, 1990; Bishop, 2006, eq. 4.109)
    ∂Loss/∂W = −1/N Σ (t − p) ∂R/∂W.
    """

    name = "cross_entropy"
    takes_target = True

    def target(self, output: Shape, given: Shape | None) -> Target:
        """The labels of an output's classes, or their shares if that is what is there.

        Raises:
            ProgramError: if there are no two classes.
        """
        if not output or output[-1] < 2:
            raise ProgramError(
                f"loss {self.name!r} takes a program that returns a logit for each of "
                f"two classes or more; this one's output has shape {output}; for one "
                "logit there is 'binary_cross_entropy'"
            )
        if given == output:
            return Target(output, 0, 1, shares=True)
        return Target(output[:-1], 0, output[-1] - 1, labels=True)

    def of_sample(self, output: Any, target: Any) -> tuple[Any, Any]:
        """Log Σ exp s − Σ t s, and t − p."""
        shifted = output - np.max(output, axis=-1, keepdims=True)
        powers = np.exp(shifted)
        total = np.sum(powers, axis=-1, keepdims=True)
        # Choices, since a class that a logit of −∞ rules out would give 0 · ∞.
        if target.shape == output.shape:
            chosen = np.where(np.greater(target, 0), target * shifted, 0)
        else:
            target = np.equal(target[..., None], np.arange(output.shape[-1]))
            chosen = np.where(target, shifted, 0)
        return np.sum(np.log(total)) - np.sum(chosen), target - powers / total

    def scale(self, samples: int) -> float:
        """−1/N."""
        return -1.0 / samples

    def metric(self, targets: NDArray[Any]) -> Metric:  # noqa: ARG002
        """The accuracy."""
        return Accuracy(largest)


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """−Σ (t log p + (1 − t) log(1 − p)) over the output's logits R, p = σ(R).

    A target is 0 or 1, or a probability between. With m = max(R, 0) no exponential
    overflows: the loss is m − t R + log(1 + exp(R − 2m)), since |R| = 2m − R, and
    (Bishop, 2006, eq. 4.91) ∂Loss/∂W = −1/N Σ (t − p) ∂R/∂W.
    """

    name = "binary_cross_entropy"
    takes_target = True

    def target(self, output: Shape, given: Shape | None) -> Target:  # noqa: ARG002
        """A probability for each logit."""
        return Target(output, 0, 1)

    def of_sample(self, output: Any, target: Any) -> tuple[Any, Any]:
        """Σ m − t R + log(1 + exp(R − 2m)), and t − p."""
        larger = np.maximum(output, 0)
        rest = np.log1p(np.exp(output - 2 * larger))
        return np.sum(larger - target * output + rest), target - sigmoid(output)

    def scale(self, samples: int) -> float:
        """−1/N."""
        return -1.0 / samples

    def metric(self, targets: NDArray[Any]) -> Metric | None:
        """The accuracy, if each target is 0 or 1."""
        return Accuracy(positive) if np.isin(targets, (0, 1)).all() else None


@dataclass(frozen=True)
class Mean:
    """The program's own output, which is the sample's loss."""

    name = "mean"
    takes_target = False

    def target(self, output: Shape, given: Shape | None) -> None:
        """There is no target.

        Raises:
            UsageError: if there are targets, which nothing would be compared with.
            ProgramError: if the output is no scalar.
        """
        if given is not None:
            raise UsageError(
                "loss 'mean' compares nothing with targets: give none, or make them an "
                "input of the program, which returns the loss itself"
            )
        if output != ():
            raise ProgramError(
                f"loss 'mean' takes a program whose output is one number, a sample's "
                f"loss; this one's has shape {output}"
            )

    def of_sample(self, output: Any, target: Any) -> tuple[Any, Any]:  # noqa: ARG002
        """The output, and 1."""
        return output, 1.0

    def scale(self, samples: int) -> float:
        """1/N."""
        return 1.0 / samples

    def metric(self, targets: NDArray[Any]) -> None:
        """None: there is nothing to compare with."""


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
    """The loss of a name; a loss that is none of the named ones is itself.

    Raises:
        UsageError: if there is none.
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


def __dir__() -> list[str]:
    """List the public names, for tab completion."""
    return sorted(__all__)
