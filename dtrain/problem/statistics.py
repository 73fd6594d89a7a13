"""The first weights of a problem, with the statistics of its samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.errors import DataError
from dtrain.functions.block_axis import block_sum, to_samples
from dtrain.gradient.layout import Layout
from dtrain.gradient.vector import GradientVector, Weights
from dtrain.problem.agreement import together
from dtrain.problem.columns import columns_of
from dtrain.problem.evaluator import ONCE, PLAIN, whole
from dtrain.problem.problem import Problem
from dtrain.problem.shard import Shard, default_block
from dtrain.tracing.builder import Builder
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.initializers import zeros
from dtrain.tracing.node import WeightSpec
from dtrain.tracing.standardise import standardised
from dtrain.worlds.world import World

Arrays = list[NDArray[np.float64]]


def first_weights(
    problem: Problem, world: World, seed: int, weights: Mapping[str, Any] | None = None
) -> Weights:
    """Return the first weights, the same bits on every rank; collective.

    Drawn ones have the statistics of the problem's samples where the program
    standardises; given ones keep theirs.

    Args:
        problem: the problem.
        world: the ranks.
        seed: of the initialisers' draws.
        weights: values by name instead of drawn ones.

    Raises:
        UsageError, MismatchError: as `Problem.start`; DataError: a mean or a deviation
            is not finite.
    """
    first = problem.start(world, seed, weights)
    found = list(standardised(problem.graph))
    if weights is not None or not found:
        return first
    world.position.phase = "standardising the data"
    moments = _Moments(problem, world, [number for _, _, number in found])
    names = [(mean, deviation) for mean, deviation, _ in found]
    measured = moments.measure()
    with together(world), np.errstate(over="ignore"):
        for (mean, deviation), centre, spread in zip(names, *measured, strict=True):
            first.values[mean][...] = centre
            first.values[deviation][...] = spread
            kept = first.values[deviation]
            kept[kept == 0] = 1
            if not (np.isfinite(first.values[mean]).all() and np.isfinite(kept).all()):
                raise DataError(
                    f"{problem.samples.source}: {mean!r} or {deviation!r} is not "
                    f"finite in {problem.dtype}: a value that is standardised at "
                    f"{problem.graph.specs[mean].source} is missing or too large"
                )
        first.version += 1
    return first


class _Moments:
    """Means and deviations of nodes over all samples, in float64.

    Distances are from the first sample's values. So a column of equal numbers has the
    deviation 0 exactly, and a large mean does not cancel digits.
    """

    def __init__(self, problem: Problem, world: World, numbers: Sequence[int]) -> None:
        self._world, self._numbers = world, numbers
        self._graph = problem.graph
        self._samples = replace(problem.samples, targets={}, weight=None)
        self._block = default_block(problem.graph, len(problem.samples))

    @np.errstate(all="ignore")  # what is not finite is refused
    def measure(self) -> tuple[Arrays, Arrays]:
        """Return the means and the deviations; collective."""
        count = len(self._samples)
        first = self._first()
        means = [total / count for total in self._sums(lambda x, i: x - first[i])]
        squares = self._sums(lambda x, i: np.square(x - first[i] - means[i]))
        return (
            [start + mean for start, mean in zip(first, means, strict=True)],
            [np.sqrt(total / count) for total in squares],
        )

    def _first(self) -> Arrays:
        """Return the values of the first sample, as rank 0 computes them."""
        with together(self._world):
            graph = self._of(lambda x, _: x)
            shapes = {name: spec.shape for name, spec in graph.specs.items()}
            layout = Layout.of(shapes, "float64")
            columns = columns_of(self._samples, graph, "float64")
            outputs = PLAIN.engine(graph, layout, columns).run(Weights(layout), ONCE)
            first = [outputs[_output(i)][0][0].copy() for i in range(self._count)]
        for each in first:
            self._world.broadcast(each.reshape(-1))
        return first

    @property
    def _count(self) -> int:
        return len(self._numbers)

    def _sums(self, term: Callable[[Any, int], Any]) -> Arrays:
        """Sum a term of each node over all samples, by the canonical tree."""
        world = self._world
        with together(world):
            graph = self._of(lambda x, i: block_sum(x.builder.symbol(term(x, i))))
            shapes = {name: spec.shape for name, spec in graph.specs.items()}
            layout = Layout.of(shapes, "float64")
            columns = columns_of(self._samples, graph, "float64")
            sums = {_output(i): _slot(i) for i in range(self._count)}
            engine = PLAIN.engine(graph, layout, columns, sums)
            shard = Shard.of(world, engine, self._block)
        batch, total = whole(len(self._samples)), GradientVector(layout)
        count = shard.count(batch)
        scratch = world.rows(count, total)
        blocks = shard.blocks(batch)
        partials = engine.gradients(Weights(layout), blocks, scratch)
        world.tree_sum(count, partials, total, 0, lambda *_: None)
        return [total.values[_slot(i)].copy() for i in range(self._count)]

    def _of(self, value: Callable[[Any, int], Any]) -> FlowGraph:
        """Return a graph of a value of each node; its weights are slots for sums."""
        builder = Builder(self._graph.name)
        symbols = builder.include(self._graph)
        builder.weights.clear()
        builder.specs.clear()
        for i, number in enumerate(self._numbers):
            node = self._graph.nodes[number]
            builder.weight(WeightSpec(_slot(i), node.shape, zeros, node.source))
        outputs = {
            _output(i): builder.symbol(value(symbols[number], i))
            for i, number in enumerate(self._numbers)
        }
        nothing = builder.symbol(to_samples(builder.constant(0.0)))
        outputs["loss"] = builder.symbol(block_sum(nothing))
        return builder.graph(outputs)


def _output(i: int) -> str:
    return f"sum {i}"


def _slot(i: int) -> str:
    """Return a name that no weight of a program has."""
    return f"(sum {i})"
