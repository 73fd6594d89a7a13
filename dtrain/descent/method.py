"""A method: what one training step does with sums over samples.

A `Method` is a frozen set of settings; `Method.start` gives a `Course`, the method at
work on the weights of one run. A course sees all weights by name. In a step it may
evaluate as often as it likes, at weights of its own; only then does it change anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from dtrain.descent.rule import Rule
from dtrain.gradient.vector import GradientVector, Weights

Evaluate = Callable[[Weights], GradientVector]
"""Sum a batch at some weights over all ranks, and scale; valid until the next sum."""


class Course(ABC):
    """A method at work.

    Attributes:
        state: what a checkpoint must hold, by name; restored by copying into it.
        converged: why there is nothing left to gain, in a sentence; else empty.
    """

    state: Mapping[str, NDArray[Any]]
    converged: str = ""

    @abstractmethod
    def compute(self, evaluate: Evaluate, rate: float) -> GradientVector:
        """Find the step; collective; change neither weights nor state.

        If a rank is lost meanwhile, the others call this again.

        Args:
            evaluate: gives the gradient of the mean loss at any weights.
            rate: the learning rate η of this step.

        Returns:
            The gradient at the current weights.
        """

    @abstractmethod
    def apply(self) -> None:
        """Take the step that was computed last; every rank by itself."""


class Method(ABC):
    """The settings of a method."""

    @abstractmethod
    def start(self, weights: Weights) -> Course:
        """Return the method at work on weights, which it changes in place."""


@dataclass(frozen=True)
class GradientDescent(Method):
    """One evaluation, then a step by a rule (lecture, the inner loop).

    Attributes:
        rule: the step rule, such as `dtrain.optimizers.sgd`.
    """

    rule: Rule

    def start(self, weights: Weights) -> Course:
        """Return gradient descent at work on weights."""
        return _Descending(self.rule, weights)


class _Descending(Course):
    def __init__(self, rule: Rule, weights: Weights) -> None:
        self._weights = weights
        self._descent = rule.start(weights.flat, weights.layout.parts)
        self.state = self._descent.state
        self._gradient: GradientVector | None = None
        self._rate = 0.0

    def compute(self, evaluate: Evaluate, rate: float) -> GradientVector:
        """Evaluate at the current weights."""
        self._gradient, self._rate = evaluate(self._weights), rate
        return self._gradient

    def apply(self) -> None:
        """Change the weights by the rule."""
        assert self._gradient is not None  # noqa: S101  (compute comes first)
        self._descent.step(self._gradient.flat, self._rate)
        self._weights.version += 1
