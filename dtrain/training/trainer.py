"""One rank's side of a training run: set up by all ranks together, then step by step.

For every batch each rank runs its blocks forward and backward; the partial
GradientVectors are summed over all ranks, scaled by −2/N, and applied alike on every
rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.binding import bind
from dtrain.data.order import Batch, Order
from dtrain.data.readers import open_data
from dtrain.diagnose.rerun import Rerun
from dtrain.engine.collector import paused
from dtrain.engine.engine import Engine
from dtrain.gradient.vector import GradientVector, Layout, Weights
from dtrain.host import numerics, pinning
from dtrain.reduction.blocks import share
from dtrain.tracing.trace import Program
from dtrain.tracing.weights import draw
from dtrain.training.differences import compare_arrays, compare_data
from dtrain.training.finite import Guard
from dtrain.training.penalty import Penalised
from dtrain.training.replicas import Replicas
from dtrain.training.settings import Settings
from dtrain.training.setup import (
    Data,
    check_program,
    check_values,
    columns_in,
    compare_programs,
    compare_settings,
    threads_of,
    together,
    trace_objective,
)
from dtrain.training.shard import Shard, default_block
from dtrain.training.state import State
from dtrain.worlds.numerics import compare
from dtrain.worlds.world import World


class Trainer:
    """What a rank needs to take any step of a run, and the state it has come to.

    Attributes:
        world: the ranks.
        shard: this rank's part of each batch.
        objective: the program's graph with its loss and derivatives.
        samples: the data, bound to the program's inputs.
        state: where the run is, the same on every rank.
        weights: the current weights, which are the state's.
        block: samples in a block.
        order: the order of samples.
        threads: how many the rank computes with.
        differing: what bits depend on, and ranks are not alike in.
        flags: what this rank asks of all at the next step, one bit each.
        agreed: what any rank has asked for at the last step.
        steps: how many steps the whole run has.
    """

    @paused()
    def __init__(
        self,
        world: World,
        program: Program,
        data: Data,
        settings: Settings,
        weights: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self.settings = settings
        compare_settings(world, settings)
        self.differing = compare(world)
        world.position.phase = "reading the data"
        with together(world):
            numerics.check_pins()
            check_program(program)
            dataset = open_data(data)
            self._data_digest = dataset.digest()
        compare_data(world, dataset, self._data_digest)
        world.position.phase = "tracing the program"
        with together(world):
            self.samples = bind(
                dataset,
                program.inputs,
                settings.target,
                settings.columns,
                with_target=settings.the_loss.takes_target,
            )
            self.objective = trace_objective(program, self.samples, settings)
        graph, self.layout = self.objective.graph, self.objective.layout(settings.dtype)
        compare_programs(world, self.objective.program)
        compare_programs(world, graph, "program with its loss")
        world.compare("layout of the weights", self.layout.describe())
        world.position.phase = "checking the data"
        with together(world):
            rows = share(len(self.samples), world.rank, world.size)
            self.samples.check_finite(rows.start, rows.stop)
            check_values(self.objective, self.samples, rows)
            columns = columns_in(self.samples, graph, settings.dtype)
            self.weights = Weights(self.layout)
            first = draw(graph, settings.seed, settings.dtype)
            self.weights.assign(first if weights is None else weights)
        given = "drawn" if weights is None else self.weights.digest
        compare_arrays(world, "first weights", given, self.weights.values, "weight")
        world.broadcast(self.weights.flat)  # libm may differ between hosts
        world.position.phase = "planning"
        self.order = Order(len(self.samples), settings.batch, settings.seed)
        self.block = min(
            settings.block or default_block(graph, self.order.nominal),
            self.order.nominal,
        )
        self.threads = threads_of(world, settings.execution, settings.threads)
        self.engine = Engine(
            graph,
            self.layout,
            columns,
            gradients=self.objective.gradients,
            execution=settings.execution,
            threads=self.threads,
            backend=settings.backend,
        )
        self.penalised = self._penalised(world)
        descent = settings.rule.start(self.weights.flat)
        self.state = State(self.weights, descent, self.order, settings.epochs)
        self.gradient = GradientVector(self.layout)
        self.steps = settings.epochs * self.order.steps_per_epoch
        self.flags = self.agreed = 0
        self.enter(world)

    def enter(self, world: World) -> None:
        """Take this rank's place in a world: all that depends on the ranks is here."""
        self.world = world
        self.shard = Shard.of(world, self.engine, self.block)
        rerun = Rerun(
            world,
            self.objective,
            self.engine,
            self.shard,
            self.weights,
            self.samples,
            self.penalised,
        )
        self.guard = Guard(self.settings.on_nonfinite, self.state, rerun)
        self.replicas = Replicas(world, self.weights, self.settings.verify_every)

    @property
    def identity(self) -> dict[str, str]:
        """What a run's bits follow from, besides its state: equal, or another run."""
        free = {"epochs", "execution", "checkpoint", "target", "columns", "penalty"}
        free |= {"on_nonfinite", "verify_every", "min_ranks", "timeout", "threads"}
        settings = self.settings.describe()
        return {
            # Of their names and shapes: the dtype is told by itself.
            "weights": Layout.of(self.layout.shapes, "float64").digest,
            **{name: text for name, text in settings.items() if name not in free},
            "bits": pinning.chosen(),
            "BLAS threads": str(self.settings.blas_threads),
            "block": str(self.block),
            "columns": repr(list(self.samples.origins)),
            "data set": self._data_digest,
            "program": self.objective.graph.fingerprint,
            "penalty": settings["penalty"],
            "penalty's graph": (
                self.penalised.objective.graph.fingerprint if self.penalised else "none"
            ),
        }

    @property
    def blocks(self) -> int:
        """Blocks in a nominal batch."""
        return -(-self.order.nominal // self.block)

    def _penalised(self, world: World) -> Penalised | None:
        """The penalty on the weights, the same on all ranks."""
        settings = self.settings
        if settings.penalty is None:
            return None
        with together(world):
            penalised = Penalised(
                settings.penalty,
                self.objective.graph,
                self.weights,
                settings.backend,
            )
        compare_programs(world, penalised.objective.graph, "penalty")
        return penalised

    @np.errstate(all="ignore")  # what must be finite is checked
    def step(self, batch: Batch, rate: float) -> GradientVector:
        """One step of gradient descent (lecture, the inner loop)."""
        world, shard, engine = self.world, self.shard, self.engine
        weights, gradient = self.weights, self.gradient
        places = world.rows(shard.count(batch), gradient)
        partials = engine.gradients(weights, shard.blocks(batch), places)
        agreed = world.tree_sum(
            shard.count(batch), partials, gradient, self.flags, self._scale
        )
        if self.penalised is not None:
            self.penalised.add(gradient)
        if self.guard.passes(gradient, batch):
            self.state.step(gradient, rate)
        else:
            self.state.skip(gradient)
        self.agreed = agreed  # with the step: who is a step behind gets both
        return gradient

    def _scale(self, slots: NDArray[Any], tail: NDArray[np.float64]) -> None:
        """Scale a part of a sum over tail[1] samples (lecture: by −2/N)."""
        np.multiply(slots, self.objective.loss.scale(int(tail[1])), out=slots)
