"""The loop over steps, from wherever a run's state is to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from dtrain.gradient.vector import GradientVector
from dtrain.training.clock import process_seconds
from dtrain.training.finite import check_weights
from dtrain.training.run import Run, StepRecord
from dtrain.training.trainer import Trainer

Callback = Callable[[StepRecord], Any]


class Loop:
    """Takes a trainer's remaining steps; what it tells of them is this process's.

    Args:
        trainer: set up, its state at the start of the run or in the middle.
        callbacks: called after every step; one that raises ends the run.

    Attributes:
        history: a record of every step taken here.
    """

    def __init__(self, trainer: Trainer, callbacks: Iterable[Callback] = ()) -> None:
        self.trainer = trainer
        self.history: list[StepRecord] = []
        self._callbacks = tuple(callbacks)
        self._schedule = trainer.settings.schedule(trainer.steps)
        self._begun = time.perf_counter()

    def run(self) -> Run:
        """Take all steps that are left."""
        trainer = self.trainer
        state, order = trainer.state, trainer.order
        self._begun = time.perf_counter()
        while state.steps < trainer.steps:
            rate = float(self._schedule(state.steps))
            gradient = trainer.step(order.at(state.steps), rate)
            self._tell(gradient, rate)
        seconds = time.perf_counter() - self._begun
        check_weights(trainer.weights)
        trainer.replicas.compare(state.steps)
        digest = trainer.weights.digest
        report = self._report(seconds, digest)
        return Run(trainer.weights.copies(), self.history, digest, report)

    def _tell(self, gradient: GradientVector, rate: float) -> None:
        """Record the step that has been completed, and tell the callbacks."""
        step = self.trainer.state.steps
        record = StepRecord(
            step=step,
            epoch=1 + (step - 1) // self.trainer.order.steps_per_epoch,
            loss=gradient.loss,
            samples=gradient.samples,
            learning_rate=rate,
            seconds=time.perf_counter() - self._begun,
        )
        self.history.append(record)
        for callback in self._callbacks:
            callback(record)

    def _report(self, seconds: float, digest: str) -> dict[str, Any]:
        """The run in numbers, by the keys of ``--report``."""
        trainer, settings, world = (
            self.trainer,
            self.trainer.settings,
            self.trainer.world,
        )
        losses = trainer.state.losses
        visited = sum(record.samples for record in self.history)
        return {
            "program": trainer.objective.graph.name,
            "ranks": world.size,
            "hosts": list(dict.fromkeys(world.hosts)),
            "mpi": world.mpi,
            "backend": settings.backend,
            "execution": settings.execution,
            "threads": settings.threads,
            "dtype": settings.dtype,
            "seed": settings.seed,
            "samples": len(trainer.samples),
            "weights": trainer.layout.count,
            "batch": trainer.order.nominal,
            "block": trainer.block,
            "blocks": trainer.blocks,
            "epochs": settings.epochs,
            "steps": trainer.state.steps,
            "skipped_steps": trainer.state.skipped,
            "loss": losses[-1] if losses else None,
            "loss_history": losses,
            "seconds": seconds,
            "seconds_total": process_seconds(),
            "samples_per_second": visited / seconds if seconds else 0.0,
            "weights_sha256": digest,
            "recovered_failures": 0,
            "resumed_from_step": None,
        }
