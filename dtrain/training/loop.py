"""The loop over steps, from wherever a run's state is to its end."""

from __future__ import annotations

import functools
import operator
import time
from collections.abc import Callable, Iterable
from typing import Any

from dtrain.errors import StoppedError
from dtrain.gradient.vector import GradientVector
from dtrain.training.clock import process_seconds
from dtrain.training.finite import check_weights
from dtrain.training.run import Run, StepRecord
from dtrain.training.saver import Saver
from dtrain.training.signals import PATIENCE, Ask, Signals
from dtrain.training.trainer import Trainer

Callback = Callable[[StepRecord], Any]


class Loop:
    """Takes a trainer's remaining steps; what it tells of them is this process's.

    Args:
        trainer: set up.
        callbacks: called after every step; one that raises ends the run.
        signals: who hears what the run is asked from outside.

    Attributes:
        history: a record of every step taken here.
    """

    def __init__(
        self,
        trainer: Trainer,
        callbacks: Iterable[Callback] = (),
        signals: Signals | None = None,
    ) -> None:
        self.trainer = trainer
        self.saver = Saver(trainer) if trainer.settings.checkpoint else None
        self._signals = signals
        self.history: list[StepRecord] = []
        self._callbacks = tuple(callbacks)
        self._schedule = trainer.settings.schedule(trainer.steps)
        self._begun = time.perf_counter()

    def run(self) -> Run:
        """Take all steps that are left, from the newest checkpoint if asked to.

        Raises:
            StoppedError: on every rank, if somebody asked the run to stop.
        """
        trainer = self.trainer
        state, order = trainer.state, trainer.order
        if self.saver is not None:
            self._start(self.saver)
        self._begun = time.perf_counter()
        try:
            while state.steps < trainer.steps:
                if self._signals is not None:
                    trainer.flags = self._signals.take()
                rate = float(self._schedule(state.steps))
                gradient = trainer.step(order.at(state.steps), rate)
                self._tell(gradient, rate)
                if self.saver is not None:
                    self._save(self.saver, trainer.agreed)
            seconds = time.perf_counter() - self._begun
        finally:
            if self.saver is not None:
                self.saver.wait()
        check_weights(trainer.weights)
        trainer.replicas.compare(state.steps)
        if self.saver is not None:
            self.saver.finish()
        digest = trainer.weights.digest
        report = self._report(seconds, digest)
        return Run(trainer.weights.copies(), self.history, digest, report)

    def _start(self, saver: Saver) -> None:
        """Resume, and listen to what was asked while the data were read."""
        saver.resume()
        asked = 0
        if self._signals is not None:
            self._signals.at_once(saver.save_now)
            if self.trainer.world.rank != 0:
                self._signals.grace = PATIENCE
            asked = self._signals.take()
        words = self.trainer.world.allgather(b"%d" % asked)
        agreed = functools.reduce(operator.or_, map(int, words))
        if agreed:
            self._save(saver, agreed)

    def _save(self, saver: Saver, agreed: int) -> None:
        """Save if it is time to; stop if all ranks have heard that somebody asked."""
        trainer = self.trainer
        if trainer.state.steps == trainer.steps:
            return  # what a finished run saves is checked first
        if agreed & Ask.STOP:
            saver.finish()
            place = trainer.world.allgather(saver.place.encode())[0].decode()
            error = StoppedError(
                f"stopped after step {trainer.state.steps} of {trainer.steps}, "
                f"{place}; go on with --resume"
            )
            error.agreed = True
            raise error
        saver.after_step(asked=bool(agreed & Ask.SAVE))

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
            "resumed_from_step": self.saver.resumed if self.saver else None,
        }
