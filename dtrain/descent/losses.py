"""What is minimised: a loss of each sample, summed, and scaled once.

The lecture's loss is the mean square error. Its GradientVector sums (t − R) ∂R/∂W over
the samples and is scaled by −2/N at the end; so the adjoint that enters the program's
output is t − R, not its derivative.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from dtrain.errors import ProgramError, UsageError
from dtrain.functions.base import Shape


class Loss(Protocol):
    """A loss: how one sample's loss and the output's adjoint are computed."""

    name: str
    takes_target: bool

    def target_shape(self, output: Shape) -> Shape | None:
        """The shape of one sample's target, or ``None`` if there is none."""

    def of_sample(self, output: Any, target: Any) -> tuple[Any, Any]:
        """One sample's loss, and the adjoint that enters its output."""

    def scale(self, samples: int) -> float:
        """What the summed GradientVector is multiplied by, once."""


class SquareError:
    """The sum of squared errors of the output (lecture, "Parameter optimization").

    ∂Loss/∂W = −2/N Σ (t − R) ∂R/∂W.
    """

    name = "square"
    takes_target = True

    def target_shape(self, output: Shape) -> Shape | None:
        """A target has the output's shape."""
        return output

    def of_sample(self, output: Any, target: Any) -> tuple[Any, Any]:
        """Σ (t − R)², and t − R."""
        error = target - output
        return np.sum(np.square(error)), error

    def scale(self, samples: int) -> float:
        """−2/N."""
        return -2.0 / samples


class Mean:
    """The program's own output, which is the sample's loss."""

    name = "mean"
    takes_target = False

    def target_shape(self, output: Shape) -> Shape | None:
        """There is no target.

        Raises:
            ProgramError: if the output is no scalar.
        """
        if output != ():
            raise ProgramError(
                f"loss 'mean' takes a program whose output is one number, a sample's "
                f"loss; this one's has shape {output}"
            )
        return None

    def of_sample(self, output: Any, target: Any) -> tuple[Any, Any]:  # noqa: ARG002
        """The output, and 1."""
        return output, 1.0

    def scale(self, samples: int) -> float:
        """1/N."""
        return 1.0 / samples


LOSSES: dict[str, Loss] = {loss.name: loss for loss in (SquareError(), Mean())}


def named(name: str) -> Loss:
    """The loss of a name.

    Raises:
        UsageError: if there is none.
    """
    if name not in LOSSES:
        raise UsageError(f"no loss {name!r}; there are {', '.join(LOSSES)}")
    return LOSSES[name]
