"""The loop over steps, from the current state of a run to its end."""

from __future__ import annotations

import functools
import logging
import operator
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NoReturn

from dtrain.errors import DtrainError, RankLostError, StoppedError, UsageError
from dtrain.gradient.vector import GradientVector
from dtrain.host.processes import process_seconds
from dtrain.training.finite import check_weights
from dtrain.training.model import model_of
from dtrain.training.outcome import final_weights, reason, report
from dtrain.training.recovery import catch_up, recovering
from dtrain.training.run import Live, Run, Step
from dtrain.training.saver import Saver
from dtrain.training.signals import GRACE, PATIENCE, Ask, Interrupt, Signals
from dtrain.training.trainer import Trainer
from dtrain.training.warnings import find

Callback = Callable[[Step], Any]
LOG = logging.getLogger("dtrain")


class Loop:
    """Takes a trainer's remaining steps, and calls this rank's callbacks.

    Args:
        trainer: the trainer, after its set-up.
        callbacks: called after every step; one that raises ends the run, with
            StopIteration normally.
        signals: delivers what the run is asked to do from outside.

    Attributes:
        saver: saves the run, if it has checkpoints.
        history: every step taken in this process.
    """

    def __init__(
        self,
        trainer: Trainer,
        callbacks: Iterable[Callback] = (),
        signals: Signals | Interrupt | None = None,
    ) -> None:
        self.trainer = trainer
        self.saver = Saver(trainer) if trainer.settings.checkpoint else None
        self.history: list[Step] = []
        self._signals = signals
        self._callbacks = tuple(callbacks)
        self._live = Live(trainer.weights.values, self._stop_from_callback)
        self._asked = 0  # what this rank asks, until all ranks have received it
        self._ended = 0  # which of Ask.END all ranks have agreed on
        self._why = ""
        self._pending: Step | None = None  # completed, and not published yet
        self._schedule = trainer.settings.schedule(trainer.steps)
        self._begun = time.perf_counter()

    def run(self) -> Run:
        """Take all remaining steps, from the newest checkpoint if resuming.

        Raises:
            StoppedError: on every rank, if a signal stopped the run, or if too few
                ranks are left; it was saved.
            RankLostError: too few ranks are left, and there are no checkpoints.
        """
        trainer, saver, signals = self.trainer, self.saver, self._signals
        world = trainer.world
        try:
            if saver is not None:
                recovering(world, lambda: self._resume(saver), self._enter)
                if isinstance(signals, Signals):
                    signals.at_once(saver.save_now)
            if isinstance(signals, Interrupt):
                signals.arm()
            self._begun = time.perf_counter()
            world.position.phase = "training"
            return recovering(world, self._continue, self._rejoin)
        finally:
            trainer.close()
            if saver is not None:
                saver.close()

    def _continue(self) -> Run:
        """Take the steps from the current state to the end."""
        self._check_ranks()
        self._answer()
        trainer = self.trainer
        state, order = trainer.state, trainer.order
        self._complete()
        while state.steps < trainer.steps and not self._ended and not reason(trainer):
            trainer.world.position.step = state.steps + 1
            trainer.flags = self._take()
            rate = float(self._schedule(state.steps))
            gradient = trainer.step(order.at(state.steps), rate)
            self._asked = 0
            self._ended = trainer.agreed & Ask.END
            if not self._ended:
                self._pending = self._step(gradient, rate)
                self._complete()
                trainer.replicas.after(state.steps)
                if self.saver is not None:
                    self._save(self.saver, trainer.agreed)
        seconds = time.perf_counter() - self._begun
        check_weights(trainer.weights)
        trainer.replicas.compare(state.steps)
        if self.saver is not None:
            self.saver.finish()
        weights = final_weights(trainer)
        whys = trainer.world.allgather(self._why.encode())
        why = next(filter(None, whys), b"").decode()
        warnings = find(trainer)
        if trainer.world.rank == 0:
            for text in warnings:
                LOG.warning("%s", text)
        facts = {
            **report(trainer, self.history, seconds, self._ended, why),
            "warnings": warnings,
            "seconds_total": process_seconds(),
            "weights_sha256": weights.digest,
            "recovered_failures": len(trainer.world.lost),
            "resumed_from_step": self.saver.resumed if self.saver else None,
            "checkpoint_step": self._saved(),
        }
        model = model_of(trainer)
        return Run(weights.copies(), self.history, weights.digest, facts, model)

    def _saved(self) -> int | None:
        """Return the step of the newest checkpoint, which rank 0 knows; collective."""
        newest = -1 if self.saver is None else self.saver.newest
        newest = int(self.trainer.world.allgather(b"%d" % newest)[0])
        return newest if newest >= 0 else None

    def _enter(self) -> None:
        """Work in a world that has become smaller."""
        self.trainer.enter(self.trainer.world)

    def _rejoin(self) -> None:
        """Reach the state of all other ranks, so that the next step is the same."""
        trainer, saver = self.trainer, self.saver
        self._enter()
        last = self._pending or (self.history[-1] if self.history else None)
        step = catch_up(trainer, last)
        if step is not None:
            self._pending = step
            if not trainer.due:
                self._complete()
        trainer.replicas.after(trainer.state.steps)
        if saver is not None:
            saver.take_over()
            self._set_grace()
            self._save(saver, trainer.agreed)

    def _check_ranks(self) -> None:
        """Stop the run if too few ranks are left; with checkpoints it can resume."""
        trainer = self.trainer
        world, least = trainer.world, trainer.settings.min_ranks
        if world.size >= least or trainer.state.steps == trainer.steps:
            return
        error: DtrainError = UsageError(
            f"--min-ranks {least}: the run starts with {world.size}"
        )
        if world.lost:
            few = f"only {world.size} ranks are left, fewer than --min-ranks {least}"
            if self.saver is not None:
                self._stop(self.saver, f"{few}: stopped")
            error = RankLostError(f"{few}, and there is no --checkpoint")
        error.agreed = True
        raise error

    def _set_grace(self) -> None:
        if isinstance(self._signals, Signals):
            self._signals.grace = PATIENCE if self.trainer.world.rank else GRACE

    def _resume(self, saver: Saver) -> None:
        saver.resume()
        self._set_grace()

    def _take(self) -> int:
        """Return what this rank asks, until all ranks have received it."""
        if self._signals is not None:
            self._asked |= self._signals.take()
        return self._asked

    def _answer(self) -> None:
        """Agree on what was asked while no steps were taken; collective."""
        word = b"%d" % (self._take() | self._ended)
        words = self.trainer.world.allgather(word)
        agreed = functools.reduce(operator.or_, map(int, words))
        self._asked = 0
        self._ended = agreed & Ask.END
        if agreed and self.saver is not None and not self._ended:
            self._save(self.saver, agreed)

    def _save(self, saver: Saver, agreed: int) -> None:
        """Save if it is due; stop if any rank has asked for it."""
        trainer = self.trainer
        if trainer.state.steps == trainer.steps:
            return  # the end of the run is checked before it is saved
        if agreed & Ask.STOP:
            self._stop(saver, "stopped")
        saver.after_step(asked=bool(agreed))

    def _stop(self, saver: Saver, what: str) -> NoReturn:
        """Save, and stop the run before its end; collective."""
        saver.finish()
        trainer = self.trainer
        newest = int(trainer.world.allgather(b"%d" % saver.newest)[0])
        text = f"{what} after step {trainer.state.steps} of {trainer.steps}, "
        text += saver.describe(newest)
        error: DtrainError = StoppedError(f"{text}; continue with --resume")
        if newest < 0:  # exit code 75 would make a batch script restart it for ever
            error = UsageError(f"{text}, where none could be written")
        error.agreed = True
        raise error

    def _step(self, gradient: GradientVector, rate: float) -> Step:
        """Return the step that has been completed, for history and callbacks."""
        step, per_epoch = self.trainer.state.steps, self.trainer.order.steps_per_epoch
        return Step(
            step=step,
            steps=self.trainer.steps,
            epoch=1 + (step - 1) // per_epoch,
            is_epoch_end=step % per_epoch == 0,
            loss=gradient.loss,
            samples=gradient.samples,
            learning_rate=rate,
            seconds=time.perf_counter() - self._begun,
        )

    def _complete(self) -> None:
        """Validate if it is due, and publish the last step; collective.

        A lost rank may interrupt the validation; then this is called again.
        """
        trainer = self.trainer
        if trainer.due:
            trainer.world.position.phase = "validating"
            found = trainer.validate()
            trainer.world.position.phase = "training"
            if self._pending is not None:
                self._pending = replace(self._pending, validation=found)
        step, self._pending = self._pending, None
        if step is not None:
            self._publish(step)

    def _publish(self, step: Step) -> None:
        """Add a step to the history and call the callbacks, once for each step."""
        self.history.append(step)
        if not self._callbacks:
            return
        object.__setattr__(step, "_live", self._live)
        for callback in self._callbacks:
            try:
                callback(step)
            except StopIteration as reason:
                self._stop_from_callback(str(reason))
        object.__setattr__(step, "_live", None)

    def _stop_from_callback(self, why: str) -> None:
        self._asked |= Ask.CALLBACK
        self._why = self._why or why or "a callback stopped the run"
