"""HIPS autograd: plain NumPy, differentiated as it runs; the check of all others."""

from __future__ import annotations

from typing import Any

import autograd.numpy as np
from autograd import value_and_grad
from numpy.typing import NDArray

from benchmarks.contenders import share
from benchmarks.contenders.array_models import Library, in_order, loss_of
from benchmarks.workloads import Case

LIBRARY = Library(np, lambda x: 1 / (1 + np.exp(-x)), lambda x: np.maximum(x, 0), list)


class Contender:
    """Weights, and a function that differentiates the loss."""

    def __init__(self, case: Case, rank: int, size: int, meeting: str) -> None:
        del meeting
        self.case = case
        self.columns = in_order(case, share(case, rank, size))
        self.weights = case.weights()
        self.gradients: dict[str, NDArray[Any]] = {}
        self.differentiate = value_and_grad(loss_of(case, LIBRARY))

    def run(self, steps: int) -> None:
        """Run steps."""
        weights, rate = self.weights, self.case.rate
        for _ in range(steps):
            _, self.gradients = self.differentiate(weights, self.columns)
            if rate:
                for name, gradient in self.gradients.items():
                    weights[name] -= rate * gradient

    def outcome(self) -> dict[str, NDArray[Any]]:
        """The weights, or the gradient."""
        values = self.weights if self.case.rate else self.gradients
        return {name: np.array(value) for name, value in values.items()}
