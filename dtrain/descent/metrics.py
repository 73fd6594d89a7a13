"""How well outputs fit targets, beside the loss: accuracy, RMSE and R².

A metric is made of sums over samples, which are added like the loss: in float64, in the
canonical tree, over all ranks; so it has the same bits on any number of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_GLANCED = 1024  # samples from which the centre is taken


class Metric(Protocol):
    """A metric: what is summed over samples, and what is made of the sums."""

    def of_sample(self, output: Any, target: Any) -> list[Any]:
        """Return what is summed."""

    def values(
        self, sums: NDArray[np.float64], samples: int
    ) -> Mapping[str, float | None]:
        """Return the metric's values by name; ``None`` where there is none.

        Args:
            sums: the sums, one after the other, each in C order.
            samples: over how many samples.
        """


@dataclass(frozen=True)
class Accuracy:
    """The share of classes that are right.

    Attributes:
        right: whether they are, of output and target.
    """

    right: Callable[[Any, Any], Any]

    def of_sample(self, output: Any, target: Any) -> list[Any]:
        """How many are right, and how many there are."""
        right = self.right(output, target)
        return [np.sum(right), right.size]

    def values(
        self,
        sums: NDArray[np.float64],
        samples: int,  # noqa: ARG002
    ) -> Mapping[str, float | None]:
        """Return the accuracy, from 0 to 1."""
        right, count = sums.tolist()
        return {"accuracy": right / count}


def largest(output: Any, target: Any) -> Any:
    """Whether the class of the largest output is the target's: a label, or one-hot.

    With a NaN among the outputs none is the largest, though argmax gives a place.
    """
    one_for_each = target.shape == output.shape
    label = np.argmax(target, axis=-1) if one_for_each else target
    right = np.equal(np.argmax(output, axis=-1), label)
    return np.logical_and(right, np.logical_not(np.any(np.isnan(output), axis=-1)))


def positive(output: Any, target: Any) -> Any:
    """Return whether a logit is positive where the target is 1, and only there.

    A NaN is never right, though it is not positive.
    """
    right = np.equal(np.greater(output, 0), np.greater(target, 0.5))
    return np.logical_and(right, np.logical_not(np.isnan(output)))


@dataclass(frozen=True)
class Errors:
    """The root of the mean squared error, and R².

    R² = 1 − Σ (t − R)² / Σ (t − t̄)²: the share of the targets' variance that the
    outputs explain; the variances of several outputs are added. Deviations are summed
    from a centre near t̄, so that large targets that vary little lose no digits.

    Attributes:
        centre: the centre of a sample's target.
    """

    centre: NDArray[np.float64]

    @classmethod
    def about(cls, targets: NDArray[Any]) -> Errors:
        """Return the errors of targets around the median of the first ones."""
        return cls(np.median(np.asarray(targets[:_GLANCED], np.float64), axis=0))

    def of_sample(self, output: Any, target: Any) -> list[Any]:
        """Σ (t − R)², and of the deviations from the centre Σ d² and d."""
        deviation = target - self.centre
        return [
            np.sum(np.square(target - output)),
            np.sum(np.square(deviation)),
            deviation,
        ]

    def values(
        self, sums: NDArray[np.float64], samples: int
    ) -> Mapping[str, float | None]:
        """RMSE over all elements, and R² unless the targets are all the same."""
        squares, around = sums[:2].tolist()
        deviations = sums[2:]
        variance = around - float(np.dot(deviations, deviations)) / samples
        rmse = math.sqrt(squares / (samples * deviations.size))
        return {"rmse": rmse, "r2": 1 - squares / variance if variance > 0 else None}


def one_hot(targets: NDArray[Any]) -> bool:
    """Return whether every row has one 1 and zeros beside it."""
    if targets.ndim != 2 or targets.shape[1] < 2:
        return False
    return bool(
        np.isin(targets, (0, 1)).all()
        and (np.count_nonzero(targets, axis=1) == 1).all()
    )
