"""The interface of a loss, and the kind of target that it compares outputs with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dtrain.descent.metrics import Metric
from dtrain.functions.base import Shape


@dataclass(frozen=True)
class Target:
    """The shape and the valid values of one sample's target.

    Attributes:
        shape: the shape of one sample's target.
        low: the smallest valid value of an element.
        high: the largest valid value of an element.
        labels: whether elements are labels of classes; they stay integers.
        shares: whether elements along the last axis are probabilities that sum to 1.
    """

    shape: Shape
    low: float = -math.inf
    high: float = math.inf
    labels: bool = False
    shares: bool = False

    def fits(self, values: NDArray[Any]) -> NDArray[np.bool]:
        """Return which elements of targets are valid."""
        fit = (values >= self.low) & (values <= self.high)
        if self.labels:
            fit &= values == np.floor(values)
        if self.shares:
            total = np.sum(values, axis=-1, keepdims=True, dtype=np.float64)
            fit &= np.abs(total - 1) <= 1e-5
        return np.asarray(fit)

    @property
    def must(self) -> str:
        """The requirement on elements, for messages."""
        if self.labels:
            return f"class labels must be integers from 0 to {self.high:g}"
        must = f"targets must be numbers from {self.low:g} to {self.high:g}"
        return f"{must} that sum to 1 over the classes" if self.shares else must

    def draw(self, rng: np.random.Generator, samples: int) -> NDArray[Any]:
        """Return random targets, for checks without data."""
        size = (samples, *self.shape)
        if self.labels:
            return rng.integers(int(self.low), int(self.high), size, endpoint=True)
        if math.isfinite(self.low):
            return rng.uniform(self.low, self.high, size)
        return rng.standard_normal(size)


class Loss(Protocol):
    """A loss: one sample's loss, and the adjoint that enters the program's output."""

    @property
    def name(self) -> str:
        """The name in `LOSSES`."""

    @property
    def takes_target(self) -> bool:
        """Whether the loss compares outputs with targets."""

    def target(self, output: Shape, given: Shape | None) -> Target | None:
        """Return the kind of one sample's target, or ``None`` if there is none.

        Args:
            output: the shape of the program's output.
            given: the shape of one sample's target in the data, if it is known.

        Raises:
            ProgramError: the loss does not accept an output of this shape.
        """

    def of_sample(
        self, output: Any, target: Any, present: Any = None
    ) -> tuple[Any, Any]:
        """Return one sample's loss, and the adjoint that enters its output.

        Args:
            output: the program's output.
            target: the target; ``None`` if the loss takes none.
            present: for a ragged target, which of its rows count; the others are
                padding. The adjoint of those has no effect.
        """

    def scale(self, samples: float) -> float:
        """Return the factor of the summed GradientVector.

        Args:
            samples: how many samples, or the sum of their weights.
        """

    def metric(self, targets: NDArray[Any]) -> Metric | None:
        """Return a metric that fits these targets, if there is one."""
