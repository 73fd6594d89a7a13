"""Check a gradient against the lecture's definition, where that sum is short."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.ragged import Ragged
from dtrain.descent.loss_graph import sample_loss_graph
from dtrain.gradient.paths import SumOverPaths
from dtrain.gradient.vector import Weights
from dtrain.problem.problem import Problem

# A sum over paths is made where no more than this is to be done.
_EDGES = 1 << 17  # of all paths together
_NODES = 1 << 11
_ENTRIES = 1 << 22  # of all Jacobians together


class Definition:
    """The derivatives of the first sample's loss, by the sum over paths.

    Args:
        problem: the program with its loss and samples.
        weights: where to differentiate.
    """

    def __init__(self, problem: Problem, weights: Weights) -> None:
        padding, samples = problem.padding, problem.samples
        sizes = padding.sizes(samples.first(1))[0] if padding else ()
        target = problem.joined(sizes).target
        graph = sample_loss_graph(
            problem.traced(sizes),
            problem.loss,
            None if target is None else target.shape,
            padding.rows,
        )
        sample = {}
        for name, column in problem.columns.items():
            if isinstance(column, Ragged):
                shape = graph.nodes[graph.inputs[name]].shape
                sample[name] = np.empty((1, *shape), column.dtype)
                column.pad(slice(0, 1), sample[name])
                sample[name] = sample[name][0]
            else:
                sample[name] = np.array(column[0])
        with np.errstate(all="ignore"):
            self._point = SumOverPaths(graph, {**weights.values, **sample})
        numbers = [value.size for value in self._point.values]
        entries = sum(
            numbers[number] * numbers[i]
            for number, node in enumerate(graph.nodes)
            for i in node.inputs
        )
        small = entries <= _ENTRIES and len(graph.nodes) <= _NODES
        self._edges = _EDGES if small else 0

    def compare(self, name: str, computed: NDArray[Any]) -> tuple[int, float | None]:
        """The number of paths, and how far a computed derivative is from their sum.

        The distance is relative to the sum of the sizes of the paths' products; it is
        ``None`` where the sum is too long, or not finite.
        """
        graph, paths = self._point.graph, self._point.paths
        start = graph.weights[name]
        count = paths.count(start)
        edges = count * len(graph.levels)
        if edges > self._edges or not np.isfinite(computed).all():
            return count, None
        self._edges -= edges
        defined, sizes = np.zeros((2, *computed.shape))
        with np.errstate(all="ignore"):
            for path in paths.all(start):
                product = self._point.product(path)
                defined = defined + product
                sizes = sizes + np.abs(product)
        if not np.isfinite(defined).all():
            return count, None
        gap = float(np.max(np.abs(computed - defined), initial=0.0))
        size = float(np.max(sizes, initial=0.0))
        if size == 0:
            return count, math.inf if gap else 0.0
        return count, gap / size
