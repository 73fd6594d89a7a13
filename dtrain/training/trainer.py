"""The training loop of the lecture, on a world of ranks.

For every batch each rank runs its blocks forward and backward; the partial
GradientVectors are summed over all ranks, scaled by −2/N, and applied alike on every
rank.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from dtrain.data.columns import bind
from dtrain.data.order import Batch, Order
from dtrain.data.readers import open_data
from dtrain.descent.losses import Loss
from dtrain.descent.penalties import Penalty
from dtrain.engine.collector import paused
from dtrain.engine.engine import Engine
from dtrain.gradient.vector import GradientVector, Weights
from dtrain.parallel.blocks import share
from dtrain.parallel.launch import open_world
from dtrain.parallel.world import World
from dtrain.program.trace import Program
from dtrain.program.weights import draw
from dtrain.training.clock import process_seconds
from dtrain.training.finite import check_gradient, check_weights
from dtrain.training.penalty import Penalised
from dtrain.training.run import Run, StepRecord
from dtrain.training.settings import Schedule, Settings
from dtrain.training.setup import (
    Data,
    check_callbacks,
    check_program,
    check_values,
    columns_in,
    compare_settings,
    together,
    trace_objective,
)
from dtrain.training.shard import Shard, default_block

Callback = Callable[[StepRecord], Any]


def train(
    program: Program,
    data: Data,
    *,
    epochs: int,
    learning_rate: float | Schedule,
    target: str | None = None,
    columns: Mapping[str, str] | None = None,
    loss: str | Loss = "square",
    penalty: Penalty | None = None,
    batch: int | None = None,
    block: int | None = None,
    optimizer: Any = "sgd",
    weights: Mapping[str, NDArray[Any]] | None = None,
    seed: int = 0,
    dtype: str = "float32",
    execution: str = "sequential",
    backend: str = "numpy",
    threads: int = 1,
    timeout: float | None = None,
    world: World | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Fit a program's weights to data by gradient descent.

    The same call works in one process, under ``mpirun`` (every rank makes it, with the
    whole data or its path) and on ``world=ThreadWorld(4)``; the weights come out with
    the same bits.

    Args:
        program: the program, a function of one sample.
        data: named columns, first axis the sample: a mapping of arrays, or the path of
            an ``.npz``, a folder of ``.npy`` or a ``.csv``.
        epochs: how often every sample is visited.
        learning_rate: η, or a callable of the step (from 0).
        target: the column to fit; by default ``t``, or the one that is no input.
        columns: for an input, the column or the range ``first:last`` to read.
        loss: ``square`` (the lecture's), ``absolute``, ``huber``, ``cross_entropy`` (of
            logits, with labels or one-hot targets), ``binary_cross_entropy`` (of
            logits), ``mean`` (the output is the loss), or one of `dtrain.losses`.
        penalty: added to the mean loss, once: a function of the weights by name, such
            as ``dtrain.penalties.Norms(l2=1e-4)`` or a lambda in plain NumPy.
        batch: samples in a step; ``None`` is the lecture's full batch.
        block: samples in a block, the unit of exact sums; by default chosen from
            program and batch. Another block gives other bits.
        optimizer: a name, or one of `dtrain.optimizers`.
        weights: first values, by name, instead of the initialisers'.
        seed: of first values and of the order of samples.
        dtype: ``float32`` or ``float64``.
        execution: the execution model.
        backend: what runs the plan.
        threads: of BLAS, for each rank.
        timeout: seconds without progress after which a rank says where it stands and
            ends the job with exit code 71; 0 is never. By default 300 under a launcher,
            where ranks wait for each other, and else never.
        world: the ranks; by default those that a launcher started, or one.
        callbacks: called after every step, on every rank, with a `StepRecord`.

    Returns:
        The run, the same on every rank.

    Raises:
        UsageError: bad options; DataError: bad data; ProgramError: a program that
            cannot be traced; NotFiniteError: the loss or the gradient overflowed.

    Example:
        >>> import numpy as np
        >>> from dtrain import program, train, weight
        >>> @program
        ... def line(x):
        ...     return weight("slope") * x + weight("offset")
        >>> x = np.linspace(-1, 1, 100)
        >>> run = train(line, {"x": x, "t": 3 * x + 1}, epochs=200, learning_rate=0.5)
        >>> {name: round(float(w), 3) for name, w in run.weights.items()}
        {'offset': 1.0, 'slope': 3.0}
    """
    world = world if world is not None else open_world()

    def work(rank: World) -> Run:
        with together(rank):
            check_callbacks(callbacks)
            settings = Settings(
                epochs=epochs,
                learning_rate=learning_rate,
                target=target,
                columns=dict(columns or {}),
                loss=loss,
                penalty=penalty,
                batch=batch,
                block=block,
                optimizer=optimizer,
                seed=seed,
                dtype=dtype,
                execution=execution,
                backend=backend,
                threads=threads,
                timeout=timeout,
            )
            if timeout is not None:
                rank.watchdog.limit = float(timeout)
        return Trainer(rank, program, data, settings, weights).run(callbacks)

    # The limit is the process's, so it is set once for all ranks that live in it.
    with threadpool_limits(threads if isinstance(threads, int) else 1):
        return world.run(work)


class Trainer:
    """One rank's side of a training run: set up by all ranks together, then run.

    Attributes:
        world: the ranks.
        objective: the program's graph with its loss and derivatives.
        samples: the data, bound to the program's inputs.
        weights: the current weights, the same on every rank.
        block: samples in a block.
        order: the order of samples.
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
        self.world = world
        self.settings = settings
        compare_settings(world, settings)
        world.place.phase = "reading the data"
        with together(world):
            check_program(program)
            dataset = open_data(data)
            held = dataset.digest()
        world.compare("data set", held)
        world.place.phase = "tracing the program"
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
        world.compare("program", graph.fingerprint)
        world.compare("layout of the weights", self.layout.digest)
        world.place.phase = "checking the data"
        with together(world):
            rows = share(len(self.samples), world.rank, world.size)
            self.samples.check_finite(rows.start, rows.stop)
            check_values(self.objective, self.samples, rows)
            columns = columns_in(self.samples, graph, settings.dtype)
            self.weights = Weights(self.layout)
            first = draw(graph, settings.seed, settings.dtype)
            self.weights.assign(first if weights is None else weights)
        given = "drawn" if weights is None else self.weights.digest
        world.compare("first weights", given)
        world.broadcast(self.weights.flat)  # libm may differ between hosts
        world.place.phase = "planning"
        self.order = Order(len(self.samples), settings.batch, settings.seed)
        self.block = min(
            settings.block or default_block(graph, self.order.nominal),
            self.order.nominal,
        )
        self.engine = Engine(
            graph,
            self.layout,
            columns,
            gradients=self.objective.gradients,
            execution=settings.execution,
            backend=settings.backend,
        )
        self.penalised = self._penalised(world)
        self.shard = Shard.of(world, self.engine, self.block)
        self.descent = settings.rule.start(self.weights.flat)
        self.gradient = GradientVector(self.layout)
        self.steps = settings.epochs * self.order.steps_per_epoch
        self._first_version = self.weights.version

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
                settings.execution,
                settings.backend,
            )
        world.compare("penalty", penalised.graph.fingerprint)
        return penalised

    @np.errstate(all="ignore")  # what must be finite is checked
    def step(self, batch: Batch, rate: float) -> GradientVector:
        """One step of gradient descent (lecture, the inner loop)."""
        world, shard, engine = self.world, self.shard, self.engine
        weights, gradient = self.weights, self.gradient
        places = world.rows(shard.count(batch), gradient)
        partials = engine.gradients(weights, shard.blocks(batch), places)
        world.tree_sum(shard.count(batch), partials, gradient, take=self._scaled)
        if self.penalised is not None:
            self.penalised.add(gradient)
        check_gradient(gradient, first=weights.version == self._first_version)
        self.descent.step(gradient.slots, rate)
        weights.version += 1
        return gradient

    def _scaled(self, slots: NDArray[Any], gradient: GradientVector) -> None:
        """Bring a summed batch to its GradientVector, scaled (lecture: by −2/N)."""
        gradient.scale(self.objective.loss.scale(gradient.samples), slots)

    def run(self, callbacks: Iterable[Callback] = ()) -> Run:
        """All epochs; a callback that raises ends the run."""
        callbacks = tuple(callbacks)
        schedule = self.settings.schedule(self.steps)
        history: list[StepRecord] = []
        losses: list[float] = []
        begun = time.perf_counter()
        self.world.place.phase = "training"
        for epoch in range(self.settings.epochs):
            total = 0.0
            for batch in self.order.batches(epoch):
                self.world.place.step = len(history) + 1
                rate = float(schedule(len(history)))
                gradient = self.step(batch, rate)
                total += float(gradient.tail[0])
                record = StepRecord(
                    step=len(history) + 1,
                    epoch=epoch + 1,
                    loss=gradient.loss,
                    samples=gradient.samples,
                    learning_rate=rate,
                    seconds=time.perf_counter() - begun,
                )
                history.append(record)
                for callback in callbacks:
                    callback(record)
            losses.append(total / len(self.samples))
        seconds = time.perf_counter() - begun
        check_weights(self.weights)
        digest = self.weights.digest
        self.world.compare("trained weights", digest)
        report = self._report(history, losses, seconds, digest)
        return Run(self.weights.copies(), history, digest, report)

    def _report(
        self,
        history: Sequence[StepRecord],
        losses: Sequence[float],
        seconds: float,
        digest: str,
    ) -> dict[str, Any]:
        """The run in numbers, by the keys of ``--report``."""
        visited = sum(record.samples for record in history)
        return {
            "program": self.objective.graph.name,
            "ranks": self.world.size,
            "hosts": list(dict.fromkeys(self.world.hosts)),
            "mpi": self.world.mpi,
            "backend": self.settings.backend,
            "execution": self.settings.execution,
            "threads": self.settings.threads,
            "dtype": self.settings.dtype,
            "seed": self.settings.seed,
            "samples": len(self.samples),
            "weights": self.layout.count,
            "batch": self.order.nominal,
            "block": self.block,
            "blocks": self.blocks,
            "epochs": self.settings.epochs,
            "steps": len(history),
            "loss": losses[-1] if losses else None,
            "loss_history": list(losses),
            "seconds": seconds,
            "seconds_total": process_seconds(),
            "samples_per_second": visited / seconds if seconds else 0.0,
            "weights_sha256": digest,
            "recovered_failures": 0,
            "resumed_from_step": None,
        }
