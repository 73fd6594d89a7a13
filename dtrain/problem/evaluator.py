"""An Evaluator: sums of a Problem's quantity over a batch, exact over all ranks.

Every rank runs its blocks of the batch; the partial sums of all ranks are added in one
canonical tree, scaled once (lecture: by −2/N), and are then the same bits everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.order import Batch
from dtrain.descent.loss_graph import LossGraph
from dtrain.engine.engine import Column, Engine
from dtrain.engine.execution.pool import Pool
from dtrain.gradient.vector import GradientVector, Layout, Weights
from dtrain.problem.padded import PaddedEngine, PaddedShard, padded_block
from dtrain.problem.padding import Sizes
from dtrain.problem.problem import Problem
from dtrain.problem.shard import RowBlocks, Shard, default_block
from dtrain.tracing.graph import FlowGraph
from dtrain.worlds.world import World

ONCE = RowBlocks(0, 1, 1, slice(0, 1))
"""One block of one row, for a graph that reads no samples, such as a penalty."""


@dataclass(frozen=True)
class Computing:
    """How a rank computes.

    Attributes:
        execution: the execution model: ``sequential``, ``levels`` or ``dataflow``.
        threads: how many threads run steps at once, if the model has such.
        backend: what runs the plan: ``numpy`` or ``fused``.
    """

    execution: str = "sequential"
    threads: int = 1
    backend: str = "numpy"

    def engine(
        self,
        graph: FlowGraph,
        layout: Layout,
        columns: Mapping[str, Column],
        gradients: Mapping[str, str] | None = None,
        tail: tuple[str, ...] = (),
        pool: Pool | None = None,
    ) -> Engine:
        """Return an engine for a graph; the only place where one is made."""
        return Engine(
            graph,
            layout,
            columns,
            gradients=gradients,
            tail=tail,
            execution=self.execution,
            threads=self.threads,
            backend=self.backend,
            pool=pool,
        )

    def sums(
        self,
        quantity: LossGraph,
        layout: Layout,
        columns: Mapping[str, Column],
        pool: Pool | None = None,
    ) -> Engine:
        """Return the engine that sums a quantity."""
        return self.engine(
            quantity.graph,
            layout,
            columns,
            quantity.gradients,
            tuple(quantity.sums),
            pool,
        )

    def of_problem(self, problem: Problem) -> Engine | PaddedEngine:
        """Return the engine that sums a problem's quantity."""
        first = self.sums(problem.quantity, problem.layout, problem.columns)
        if not problem.padding:
            return first

        def make(sizes: Sizes) -> Engine:
            if sizes == problem.padding.standard:
                return first
            quantity = problem.joined(sizes)
            return self.sums(quantity, problem.layout, {}, first.pool)

        return PaddedEngine(make, problem.padding.names, problem.columns)


@contextmanager
def reading(
    engine: Engine | PaddedEngine, columns: Mapping[str, Column]
) -> Iterator[None]:
    """Let an engine read other columns of the same shapes, and forget them after."""
    engine.rebind(columns)
    try:
        yield
    finally:
        engine.release()


PLAIN = Computing()
"""Sequential, one thread, NumPy."""


def threads_of(world: World, execution: str, threads: int | None) -> int:
    """Return how many threads a rank computes with; collective.

    By default one; or, if the execution model runs steps at once, the rank's share of
    the cores that it may use: ranks of one host may have the same cores, or others.
    """
    if threads is not None:
        return threads
    if execution == "sequential":
        return 1
    if hasattr(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0))
    else:
        cores = list(range(os.cpu_count() or 1))
    mine = repr((world.hosts[world.rank], cores)).encode()
    return max(len(cores) // world.allgather(mine).count(mine), 1)


class Evaluator:
    """Sums a problem's quantity over the samples of a batch and over all ranks.

    Args:
        problem: the problem.
        world: the ranks.
        block: samples in a block; by default chosen from program and ``batch``.
        batch: the nominal number of samples in a batch; by default all of them.
        computing: how this rank computes.

    Attributes:
        world: the ranks.
        block: samples in a block.
        shard: this rank's part of each batch.
        engine: what runs the graph.
        agreed: the flag words of all ranks, OR-ed, from the last sum.
    """

    def __init__(
        self,
        problem: Problem,
        world: World,
        *,
        block: int | None = None,
        batch: int | None = None,
        computing: Computing = PLAIN,
    ) -> None:
        self.problem, self.computing = problem, computing
        nominal = len(problem.samples) if batch is None else batch
        graph = problem.quantity.graph
        default = padded_block if problem.padding else default_block
        self.block = min(block or default(graph, nominal), nominal)
        self.engine = computing.of_problem(problem)
        self._penalty: Engine | None = None
        if problem.penalty is not None:
            layout = problem.penalty.layout(problem.dtype)
            serial = Computing(backend=computing.backend)
            self._penalty = serial.sums(problem.penalty, layout, {})
        self.total = GradientVector(problem.layout)
        self.agreed = 0
        self.enter(world)

    def enter(self, world: World) -> None:
        """Work in this world from now on: a smaller one, after ranks were lost."""
        self.world = world
        if isinstance(self.engine, PaddedEngine):
            self.shard: Shard = PaddedShard.of_padded(world, self.engine, self.block)
        else:
            self.shard = Shard.of(world, self.engine, self.block)

    def close(self) -> None:
        """End the threads that run steps at once."""
        self.engine.close()

    def sum(
        self, weights: Weights, batch: Batch, flags: int = 0, *, penalised: bool = True
    ) -> GradientVector:
        """Sum over a batch and all ranks, scale, and add the penalty; collective.

        Call it under ``np.errstate(all="ignore")``, and check what must be finite.

        Args:
            weights: where to evaluate, the same on every rank.
            batch: the samples.
            flags: this rank's flag word; `agreed` then has those of all ranks.
            penalised: whether to add the penalty.

        Returns:
            The gradient of the mean loss, with the loss and metrics as sums in its
            tail. It is valid until the next sum.
        """
        count, total = self.shard.count(batch), self.total
        scratch = self.world.rows(count, total)
        blocks = self.shard.blocks(batch)
        partials = self.engine.gradients(weights, blocks, scratch)
        self.agreed = self.world.tree_sum(count, partials, total, flags, self._scale)
        if self._penalty is not None and penalised:
            for one in self._penalty.gradients(weights, (ONCE,)):
                total.add(one.slots)
                total.tail[0] += total.divisor * one.tail[0]
        return total

    def _scale(self, slots: NDArray[Any], tail: NDArray[np.float64]) -> None:
        """Scale a part of a sum (lecture: by −2/N; with weights of samples: −2/Σw)."""
        divisor = self.problem.layout.divisor(tail)
        # If no sample counts, all derivatives are 0, whatever the factor.
        factor = self.problem.loss.scale(divisor) if divisor else 0.0
        np.multiply(slots, factor, out=slots)

    def metrics(self) -> dict[str, float]:
        """Return what the last sum says: samples, mean loss, and the metric's values.

        A metric that has no value for these samples, such as R² of equal targets, is
        left out.
        """
        total, metric = self.total, self.problem.metric
        counts = metric is not None and total.divisor > 0
        found = metric.values(total.metrics, total.divisor) if metric and counts else {}
        values = {name: value for name, value in found.items() if value is not None}
        return {"samples": total.samples, "loss": total.loss, **values}


def whole(samples: int) -> Batch:
    """Return all of so many samples, in their order, as one batch."""
    return Batch(0, slice(0, samples), samples)
