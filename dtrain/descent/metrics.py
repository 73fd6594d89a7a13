"""Metrics that are reported beside the loss: accuracy, RMSE and R².

A metric is computed from sums over samples. These are added like the loss: in float64,
in the canonical tree, over all ranks. So the bits do not depend on the number of ranks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from dtrain.tracing.padded import by_rows

_FIRST = 1024  # samples whose median is the centre of the targets


class Metric(Protocol):
    """A metric: terms to sum over samples, and the values computed from the sums."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its values."""

    def of_sample(self, output: Any, target: Any, present: Any = None) -> list[Any]:
        """Return the terms of one sample, of those rows that are present."""

    def of_rows(self) -> Metric:
        """Return the metric for ragged targets, whose rows count like samples."""

    def values(
        self, sums: NDArray[np.float64], samples: float
    ) -> Mapping[str, float | None]:
        """Return the metric's values by name; ``None`` for an undefined value.

        Args:
            sums: the sums of the terms, concatenated, each in C order.
            samples: the number of samples, or the sum of their weights.
        """


@dataclass(frozen=True)
class Accuracy:
    """The fraction of correct classes.

    Attributes:
        right: returns which classes are correct, from output and target.
    """

    right: Callable[[Any, Any], Any]
    names: ClassVar[tuple[str, ...]] = ("accuracy",)

    def of_sample(self, output: Any, target: Any, present: Any = None) -> list[Any]:
        """Return the number of correct classes and the number of all."""
        right = self.right(output, target)
        if present is None:
            return [np.sum(right), right.size]
        counts = np.broadcast_to(by_rows(present, np.ndim(right)), np.shape(right))
        return [np.sum(right, where=counts), np.sum(counts)]

    def of_rows(self) -> Accuracy:
        """Return the same: the classes of all rows count alike."""
        return self

    def values(
        self,
        sums: NDArray[np.float64],
        samples: float,  # noqa: ARG002
    ) -> Mapping[str, float | None]:
        """Return the accuracy, from 0 to 1."""
        right, count = sums.tolist()
        return {"accuracy": right / count}


def largest(output: Any, target: Any) -> Any:
    """Return whether the largest output is at the target's class (label or one-hot).

    Outputs with a NaN are never correct, although argmax returns an index.
    """
    one_for_each = target.shape == output.shape
    label = np.argmax(target, axis=-1) if one_for_each else target
    right = np.equal(np.argmax(output, axis=-1), label)
    return np.logical_and(right, np.logical_not(np.any(np.isnan(output), axis=-1)))


def positive(output: Any, target: Any) -> Any:
    """Return whether a logit is positive exactly if the target is above ½.

    A NaN is never correct.
    """
    right = np.equal(np.greater(output, 0), np.greater(target, 0.5))
    return np.logical_and(right, np.logical_not(np.isnan(output)))


@dataclass(frozen=True)
class Errors:
    """The root of the mean squared error (RMSE), and R².

    R² = 1 − Σ (t − R)² / Σ (t − t̄)²: the fraction of the targets' variance that the
    program explains; for several outputs, of the sum of their variances. Deviations are
    taken from a centre near t̄, so that large targets of small variance lose no digits.

    Attributes:
        centre: the centre, of the shape of one sample's target.
    """

    centre: NDArray[np.float64]
    names: ClassVar[tuple[str, ...]] = ("rmse", "r2")

    @classmethod
    def about(cls, targets: NDArray[Any]) -> Errors:
        """Return the metric whose centre is the median of the first targets."""
        return cls(np.median(np.asarray(targets[:_FIRST], np.float64), axis=0))

    def of_sample(self, output: Any, target: Any, present: Any = None) -> list[Any]:  # noqa: ARG002
        """Return Σ (t − R)², and Σ d² and d for the deviations d from the centre."""
        deviation = target - self.centre
        return [
            np.sum(np.square(target - output)),
            np.sum(np.square(deviation)),
            deviation,
        ]

    def values(
        self, sums: NDArray[np.float64], samples: float
    ) -> Mapping[str, float | None]:
        """Return RMSE over all elements, and R² unless all targets are equal."""
        squares, around = sums[:2].tolist()
        deviations = sums[2:]
        variance = around - float(np.dot(deviations, deviations)) / samples
        rmse = math.sqrt(squares / (samples * deviations.size))
        return {"rmse": rmse, "r2": 1 - squares / variance if variance > 0 else None}

    def of_rows(self) -> RowErrors:
        """Return the metric whose samples are the rows of ragged targets."""
        return RowErrors(self.centre)


@dataclass(frozen=True)
class RowErrors(Errors):
    """RMSE and R² of ragged targets: the rows of all samples count alike.

    Attributes:
        centre: the centre, of the shape of one row.
    """

    def of_sample(self, output: Any, target: Any, present: Any = None) -> list[Any]:
        """Return the terms of `Errors` summed over rows, and the number of rows."""
        counts = by_rows(present, np.ndim(target))
        deviation = np.where(counts, target - self.centre, 0)
        return [
            np.sum(np.square(target - output), where=counts),
            np.sum(np.square(deviation)),
            np.sum(deviation, axis=0),
            np.sum(present),
        ]

    def values(
        self,
        sums: NDArray[np.float64],
        samples: float,  # noqa: ARG002
    ) -> Mapping[str, float | None]:
        """Return RMSE over all elements, and R² unless all targets are equal."""
        return super().values(sums[:-1], float(sums[-1]))


def one_hot(targets: NDArray[Any]) -> bool:
    """Return whether every row holds one 1 and otherwise zeros."""
    if targets.ndim != 2 or targets.shape[1] < 2:
        return False
    return bool(
        np.isin(targets, (0, 1)).all()
        and (np.count_nonzero(targets, axis=1) == 1).all()
    )
