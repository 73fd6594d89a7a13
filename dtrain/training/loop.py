"""The loop over steps, from wherever a run's state is to its end."""

from __future__ import annotations

import functools
import operator
import time
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from dtrain.errors import DtrainError, RankLostError, StoppedError, UsageError
from dtrain.gradient.vector import GradientVector
from dtrain.host import pinning
from dtrain.host.processes import process_seconds
from dtrain.training.finite import check_weights
from dtrain.training.recovery import catch_up, recovering
from dtrain.training.run import Run, StepRecord
from dtrain.training.saver import Saver
from dtrain.training.signals import GRACE, PATIENCE, Ask, Signals
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
        self._asked = 0  # of this rank, what not all have heard of yet
        self._schedule = trainer.settings.schedule(trainer.steps)
        self._begun = time.perf_counter()

    def run(self) -> Run:
        """Take all steps that are left, from the newest checkpoint if asked to.

        Raises:
            StoppedError: on every rank, if somebody asked the run to stop, or if too
                few ranks are left.
            RankLostError: too few ranks are left, and there are no checkpoints.
        """
        trainer, saver = self.trainer, self.saver
        world = trainer.world
        try:
            if saver is not None:
                recovering(world, lambda: self._start(saver), self._enter)
                if self._signals is not None:
                    self._signals.at_once(saver.save_now)
            self._begun = time.perf_counter()
            world.position.phase = "training"
            return recovering(world, self._go_on, self._rejoin)
        finally:
            trainer.engine.close()
            if saver is not None:
                saver.close()

    def _go_on(self) -> Run:
        """Take the steps from where the state is to the end."""
        self._check_ranks()
        self._answer()
        trainer = self.trainer
        state, order = trainer.state, trainer.order
        while state.steps < trainer.steps:
            trainer.world.position.step = state.steps + 1
            trainer.flags = self._take()
            rate = float(self._schedule(state.steps))
            gradient = trainer.step(order.at(state.steps), rate)
            self._asked = 0
            self._tell(self._record(gradient, rate))
            trainer.replicas.after(state.steps)
            if self.saver is not None:
                self._save(self.saver, trainer.agreed)
        seconds = time.perf_counter() - self._begun
        check_weights(trainer.weights)
        trainer.replicas.compare(state.steps)
        if self.saver is not None:
            self.saver.finish()
        digest = trainer.weights.digest
        report = self._report(seconds, digest)
        return Run(trainer.weights.copies(), self.history, digest, report)

    def _enter(self) -> None:
        """Take this rank's place in a world that has become smaller."""
        self.trainer.enter(self.trainer.world)

    def _rejoin(self) -> None:
        """Be where all the others are, so that the next step is the same on all."""
        trainer, saver = self.trainer, self.saver
        self._enter()
        record = catch_up(trainer, self.history[-1] if self.history else None)
        if record is not None:
            self._tell(record)
        trainer.replicas.after(trainer.state.steps)
        if saver is not None:
            saver.take_over()
            self._set_grace()
            self._save(saver, trainer.agreed)

    def _check_ranks(self) -> None:
        """End the run where there are too few ranks; with checkpoints it can go on."""
        trainer = self.trainer
        world, least = trainer.world, trainer.settings.min_ranks
        if world.size >= least or trainer.state.steps == trainer.steps:
            return
        error: DtrainError = UsageError(
            f"--min-ranks {least}: there are {world.size} from the start"
        )
        if world.lost:
            few = f"only {world.size} ranks are left, fewer than --min-ranks {least}"
            if self.saver is not None:
                self._stop(self.saver, f"{few}: stopped")
            error = RankLostError(f"{few}, and there is no --checkpoint")
        error.agreed = True
        raise error

    def _set_grace(self) -> None:
        if self._signals is not None:
            self._signals.grace = PATIENCE if self.trainer.world.rank else GRACE

    def _start(self, saver: Saver) -> None:
        """Resume."""
        saver.resume()
        self._set_grace()

    def _take(self) -> int:
        """What this rank was asked, until all have heard of it."""
        if self._signals is not None:
            self._asked |= self._signals.take()
        return self._asked

    def _answer(self) -> None:
        """Do what was asked while no steps were taken."""
        if self.saver is None:
            return
        words = self.trainer.world.allgather(b"%d" % self._take())
        agreed = functools.reduce(operator.or_, map(int, words))
        self._asked = 0
        if agreed:
            self._save(self.saver, agreed)

    def _save(self, saver: Saver, agreed: int) -> None:
        """Save if it is time to; stop if all ranks have heard that somebody asked."""
        trainer = self.trainer
        if trainer.state.steps == trainer.steps:
            return  # what a finished run saves is checked first
        if agreed and agreed & Ask.STOP:
            self._stop(saver, "stopped")
        saver.after_step(asked=bool(agreed))

    def _stop(self, saver: Saver, what: str) -> NoReturn:
        """Save, and end the run before its end; collective."""
        saver.finish()
        trainer = self.trainer
        newest = int(trainer.world.allgather(b"%d" % saver.newest)[0])
        text = f"{what} after step {trainer.state.steps} of {trainer.steps}, "
        text += saver.place(newest)
        error: DtrainError = StoppedError(f"{text}; go on with --resume")
        if newest < 0:  # whoever starts it again would start it for ever
            error = UsageError(f"{text}, where none could be written")
        error.agreed = True
        raise error

    def _record(self, gradient: GradientVector, rate: float) -> StepRecord:
        """What is to be told of the step that has been completed."""
        step = self.trainer.state.steps
        return StepRecord(
            step=step,
            epoch=1 + (step - 1) // self.trainer.order.steps_per_epoch,
            loss=gradient.loss,
            samples=gradient.samples,
            learning_rate=rate,
            seconds=time.perf_counter() - self._begun,
        )

    def _tell(self, record: StepRecord) -> None:
        """Remember a step, and tell the callbacks: once for each step."""
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
            "bits": pinning.chosen(),
            "bits_differ": trainer.differing,
            "execution": settings.execution,
            "threads": trainer.threads,
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
            "recovered_failures": len(world.lost),
            "resumed_from_step": self.saver.resumed if self.saver else None,
        }
