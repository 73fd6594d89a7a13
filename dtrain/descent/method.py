"""Methods: what one training step does with sums over samples.

A `Method` is a frozen set of settings. `Method.start` returns a `Course`: the method
with the weights of one run and its state. A course sees all weights by name. It may
evaluate several times in a step, at any weights; then it changes the weights once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from dtrain.descent.rule import Rule
from dtrain.gradient.vector import GradientVector, Weights

Evaluate = Callable[[Weights], GradientVector]
"""Sum a batch at given weights over all ranks, and scale; valid until the next call."""


class Course(ABC):
    """A method with the weights of one run.

    Attributes:
        state: the arrays that a checkpoint must hold; to restore, copy into them.
        converged: a sentence that says why the method has converged; empty before.
        squares: whether the state holds squares of the gradient, which must be finite.
    """

    state: Mapping[str, NDArray[Any]]
    converged: str = ""
    squares: bool = False

    @abstractmethod
    def compute(self, evaluate: Evaluate, rate: float) -> GradientVector:
        """Compute the step; collective; change neither weights nor state.

        If a rank is lost during the call, the survivors call this again.

        Args:
            evaluate: returns the gradient of the mean loss at any weights.
            rate: the learning rate η of this step.

        Returns:
            The gradient at the current weights.
        """

    @abstractmethod
    def apply(self) -> None:
        """Take the step that was computed last; without communication."""


class Method(ABC):
    """The settings of a method."""

    @abstractmethod
    def start(self, weights: Weights) -> Course:
        """Return the method with weights, which it changes in place.

        Every step keeps to the weights' bounds: `Layout.limits` has them as two flat
        arrays, and `Weights.project` moves weights into them.
        """


@dataclass(frozen=True)
class GradientDescent(Method):
    """One evaluation, then one step of a rule (lecture, the inner loop).

    Weights that the rule moves out of their bounds are moved to the nearest bound
    (projected gradient descent: Bertsekas 1976); the rule's state stays as it is.

    Attributes:
        rule: the step rule, such as `dtrain.optimizers.sgd`.
        factors: by name, what multiplies the learning rate of a weight; a weight with
            the factor 0 does not move; one without a factor has 1.
    """

    rule: Rule
    factors: Mapping[str, float] = field(default_factory=dict)

    def start(self, weights: Weights) -> Course:
        """Return gradient descent with these weights."""
        return _Descending(self.rule, weights, self.factors)


class _Descending(Course):
    def __init__(
        self, rule: Rule, weights: Weights, factors: Mapping[str, float]
    ) -> None:
        self._weights = weights
        self._descent = rule.start(weights.flat, weights.layout.parts, factors)
        self.state = self._descent.state
        # Clipping comes first; the square of a clipped element is finite.
        self.squares = rule.squared and rule.clip_norm is None
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
        self._weights.project()
