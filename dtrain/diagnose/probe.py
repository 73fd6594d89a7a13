"""The loss of a problem at shifted weights, and the check of one weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.order import Batch
from dtrain.diagnose.kinks import Kinks
from dtrain.gradient.vector import Weights
from dtrain.problem.evaluator import Evaluator, whole
from dtrain.problem.problem import Problem
from dtrain.problem.shard import RowBlocks
from dtrain.worlds.local import SoloWorld

TOLERANCE = 1e-6
"""The largest relative error that passes; a wrong factor of 1.0005 is 500 times it."""
STEPS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
"""The steps h that are tried, in units of the weight's largest entry or 1.

At the last one only what lies on a kink still straddles it, however wide the program.
"""
_NOISE = 1e-10  # what rounding of the loss may do to a difference, per unit of loss
ROUNDING = 1e-9  # what it may do to a sum over paths, per unit of its terms


@dataclass(frozen=True)
class WeightCheck:
    """One weight's derivative along one direction, computed in two ways.

    Attributes:
        weight: its name.
        gradient: by back-propagation.
        difference: by differences of the loss.
        error: how far they are apart, relative to the larger.
        passed: whether that is within the tolerance.
        kinks: the source lines of the kinks that every difference straddled.
        paths: how many paths there are from the weight to the loss of a sample.
        path_error: how far the first sample's derivative is from the sum over them,
            relative to the sum of their sizes; ``None`` if it is too long a sum.
    """

    weight: str
    gradient: float
    difference: float
    error: float
    passed: bool
    kinks: tuple[str, ...]
    paths: int = 0
    path_error: float | None = None

    @property
    def defined(self) -> bool:
        """Whether no sum over paths says otherwise."""
        return self.path_error is None or self.path_error <= ROUNDING


class Probe:
    """Evaluates the loss, and which pieces apply, at shifted weights."""

    def __init__(self, problem: Problem, weights: Weights) -> None:
        self.weights = weights
        self._evaluator = Evaluator(problem, SoloWorld(), block=len(problem.samples))
        self._batch = whole(len(problem.samples))
        graphs = [problem.quantity.graph]
        if problem.penalty is not None:
            graphs.append(problem.penalty.graph)
        layout, columns = problem.layout, problem.columns
        self._kinks = [Kinks(graph, layout, columns) for graph in graphs]
        self._sources = [source for kinks in self._kinks for source in kinks.sources]

    @np.errstate(all="ignore")
    def loss_and_gradient(
        self, batch: Batch | None = None, *, penalised: bool = True
    ) -> tuple[float, dict[str, NDArray[Any]]]:
        """Evaluate on a batch, or on all samples, with or without the penalty."""
        total = self._evaluator.sum(
            self.weights, batch or self._batch, penalised=penalised
        )
        return total.loss, {name: v.copy() for name, v in total.values.items()}

    def along(
        self, name: str, direction: NDArray[np.float64], slope: float
    ) -> WeightCheck:
        """Compare the slope with differences, until one straddles no kink."""
        view = self.weights.values[name]
        scale = max(1.0, float(np.max(np.abs(view), initial=0.0)))
        result = None
        for step in STEPS:
            coarse, _, first = self._difference(view, direction, step * scale)
            fine, size, second = self._difference(view, direction, step * scale / 2)
            difference = (4 * fine - coarse) / 3
            gap = abs(slope - difference)
            larger = max(abs(slope), abs(difference))
            allowed = TOLERANCE * larger + _NOISE * size / (step / STEPS[0])
            kinks = tuple(dict.fromkeys(first + second))
            result = WeightCheck(
                name,
                slope,
                difference,
                gap / larger if larger else 0.0,
                passed=bool(gap <= allowed),
                kinks=kinks,
            )
            if result.passed or not kinks:
                break
        assert result is not None  # noqa: S101  (there are steps)
        return result

    def _difference(
        self, view: NDArray[Any], direction: NDArray[Any], step: float
    ) -> tuple[float, float, tuple[str, ...]]:
        """The central difference, the size of the loss, and the kinks straddled."""
        kept = view.copy()
        values, pieces = [], []
        for sign in (1, -1):
            view[...] = kept + sign * step * direction
            self.weights.version += 1
            values.append(self.loss_and_gradient()[0])
            pieces.append(self._pieces())
        view[...] = kept
        self.weights.version += 1
        straddled = tuple(
            source
            for source, up, down in zip(self._sources, *pieces, strict=True)
            if not np.array_equal(up, down)
        )
        size = max(1.0, *map(abs, values))
        return (values[0] - values[1]) / (2 * step), size, straddled

    def _pieces(self) -> list[NDArray[Any]]:
        block = RowBlocks(0, 1, len(self._batch), self._batch.rows)
        return [
            piece
            for kinks in self._kinks
            for piece in kinks.pieces(self.weights, block)
        ]
