"""When a run is saved, by whom, and how one goes on: rank 0 writes, all ranks follow.

After a completed step every rank has the same state, so rank 0 needs nobody's leave to
save it. It copies the state between two steps, and a thread writes the copy.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dtrain.checkpoint.file import FORMAT, Checkpoint
from dtrain.checkpoint.folder import Folder
from dtrain.errors import DtrainError, UsageError
from dtrain.host.numerics import arithmetic
from dtrain.training.setup import together

if TYPE_CHECKING:
    from dtrain.training.trainer import Trainer

LOG = logging.getLogger("dtrain")
_HEADER = 1 << 16  # bytes that are enough for what a file holds beside the arrays
_FIXED = ("weights", "dtype")  # not even --force can go on with others


class Saver:
    """Saves a trainer's state and brings it back; on ranks but 0 it only follows.

    Args:
        trainer: set up.

    Attributes:
        resumed: the step that the run went on from, ``None`` if from the start.
    """

    def __init__(self, trainer: Trainer) -> None:
        options = trainer.settings.checkpoint
        assert options is not None  # noqa: S101  (who makes a saver has looked)
        self.resumed: int | None = None
        self._trainer, self._options = trainer, options
        self._folder = Folder(Path(options.folder), options.keep)
        self._copy: dict[str, NDArray[Any]] = {}
        self._writer: threading.Thread | None = None
        self._maker: threading.Thread | None = None
        self._due = False
        self._saved = -1  # the newest step of this very run that is on the disk
        self._last = time.monotonic()

    def resume(self) -> None:
        """Open the folder; go on from its newest checkpoint if asked to; collective.

        Raises:
            UsageError: there are checkpoints but nobody said resume; or what is there
                is of another run.
        """
        world, state = self._trainer.world, self._trainer.state
        found = np.full(1, -1, np.int64)
        with together(world):
            if world.rank == 0:
                self._refuse_to_overwrite()
                self._folder.open()
                newest = self._folder.newest() if self._options.resume else None
                if newest is not None:
                    if self._adopt(newest):
                        self._saved = state.steps
                    found[0] = state.steps
                    LOG.info("going on from step %d: %s", found[0], newest.path)
                elif self._options.resume:
                    LOG.info("no checkpoint in %s: starting afresh", self._folder.path)
                self._prepare()
        world.broadcast(found)
        if found[0] >= 0:
            self.resumed = int(found[0])
        # A rank 0 that was lost in this may have given its state to some.
        if found[0] >= 0 or world.lost:
            state.broadcast(world)
        self._last = time.monotonic()

    def take_over(self) -> None:
        """Be ready to save if this rank is now rank 0, because the other is lost."""
        if self._trainer.world.rank == 0 and not self._copy:
            with suppress(DtrainError):  # the next save finds it out, and warns
                self._folder.open()
            self._prepare()

    def _prepare(self) -> None:
        """Have memory for copies of the state, and room for a save at once."""
        self._copy = self._trainer.state.copies()
        if self._maker is not None:  # this is done again
            return
        size = _HEADER + sum(array.nbytes for array in self._copy.values())
        self._maker = _begin("room", self._folder.make_room, size)

    def after_step(self, *, asked: bool) -> None:
        """Save if it is time to, or if somebody asked; one save at a time."""
        if self._trainer.world.rank != 0:
            return
        options, steps = self._options, self._trainer.state.steps
        if options.every is not None and steps % options.every == 0:
            self._due = True
        if options.seconds and time.monotonic() - self._last >= options.seconds:
            self._due = True
        self._due |= asked
        if self._due and (self._writer is None or not self._writer.is_alive()):
            self._due = False
            self._last = time.monotonic()
            self._trainer.state.copy_to(self._copy)
            self._writer = _begin("save", self._write, self._copy, self._facts())

    def finish(self) -> None:
        """Have the state on the disk, as it is now."""
        if self._trainer.world.rank != 0:
            return
        self.wait()
        if self._saved != self._trainer.state.steps:
            self._write(self._trainer.state.arrays, self._facts())

    def wait(self) -> None:
        """Wait for the thread that writes."""
        if self._writer is not None:
            self._writer.join()

    def close(self) -> None:
        """Leave nothing but checkpoints in the folder."""
        self.wait()
        if self._maker is not None:
            self._maker.join()
        self._folder.close()

    def save_now(self) -> bool:
        """Save the last completed step, from another thread, not waiting for a disk.

        Returns:
            Whether there is a checkpoint to go on from; on ranks but 0 it is not known.
        """
        state = self._trainer.state
        if self._trainer.world.rank == 0:
            with state.whole:
                if self._saved != state.steps:
                    self._write(state.arrays, self._facts(), durable=False)
            saved = self.newest
            LOG.info("stopping, %s", self.place(saved))
            return saved >= 0
        return True

    @property
    def newest(self) -> int:
        """The step that a run that stops now can go on from; −1 if there is none."""
        saved = self._saved
        if saved < 0:  # what is there is of the rank 0 before, or of the run before
            with suppress(DtrainError):
                saved = max(self._folder.steps(), default=-1)
        return saved

    def place(self, saved: int) -> str:
        """Say what a run has, for a person."""
        if saved < 0:
            return f"with no checkpoint in {self._folder.path}"
        return f"with its checkpoint of step {saved} in {self._folder.path}"

    def _write(
        self,
        arrays: Mapping[str, NDArray[Any]],
        facts: Mapping[str, Any],
        *,
        durable: bool = True,
    ) -> None:
        """Write a checkpoint; where that fails, warn, and go on with the older ones."""
        steps = int(arrays["steps"])
        weights = arrays["weights"]
        # Unlike an array of truth values these need no memory, which may take long.
        if not np.isfinite([weights.min(initial=0), weights.max(initial=0)]).all():
            return  # the next step finds out, and ends the run
        begun = 1 + steps // self._trainer.order.steps_per_epoch
        arrays = {**arrays, "sums": arrays["sums"][:begun]}
        try:
            self._folder.save(arrays, facts, durable=durable)
        except OSError as error:
            LOG.warning(
                "cannot save step %d in %s: %s; the checkpoints before it are kept",
                steps,
                self._folder.path,
                error.strerror or error,
            )
        else:
            self._saved = max(steps, self._saved)

    def _refuse_to_overwrite(self) -> None:
        there = os.path.isdir(self._folder.path)
        if there and not self._options.resume and self._folder.steps():
            raise UsageError(
                f"--checkpoint {self._folder.path} holds the checkpoints of a run; go "
                "on with --resume, or give another folder"
            )

    def _facts(self) -> dict[str, Any]:
        """What a checkpoint says of its run."""
        trainer = self._trainer
        losses = trainer.state.losses
        loss = losses[-1] if losses and math.isfinite(losses[-1]) else None
        return {
            "format": FORMAT,
            "steps": trainer.state.steps,
            "epochs": trainer.settings.epochs,
            "loss": loss,
            "samples": trainer.order.samples,
            "steps_per_epoch": trainer.order.steps_per_epoch,
            "weights": {k: list(v) for k, v in trainer.layout.shapes.items()},
            "run": trainer.identity,
            "configuration": trainer.settings.describe(),
            "ranks": trainer.world.size,
            "versions": _versions(),
        }

    def _adopt(self, found: Checkpoint) -> bool:
        """Make the trainer's state a checkpoint's, unless it is of another run.

        Returns:
            Whether it is of this very run.

        Raises:
            UsageError: naming what has changed.
        """
        trainer, force = self._trainer, self._options.force
        was, now = found.facts["run"], trainer.identity
        changed = [name for name in {**now, **was} if was.get(name) != now.get(name)]
        if changed and not (force and not set(changed) & set(_FIXED)):
            texts = [_change(name, was.get(name), now.get(name)) for name in changed]
            fixed = [name for name in changed if name in _FIXED]
            advice = "go on as before, or give --force to go on all the same"
            if fixed:
                advice = f"a run cannot go on with another {' or '.join(fixed)}"
            raise UsageError(
                f"checkpoint {found.path} is of another run: {'; '.join(texts)}; "
                f"{advice}"
            )
        self._warn(found, changed)
        try:
            trainer.state.assign(found.arrays)
        except ValueError as error:
            raise UsageError(f"checkpoint {found.path} does not fit: {error}") from None
        if {"batch", "data set"} & set(changed):
            facts = found.facts
            trainer.state.restart_epoch(facts["steps_per_epoch"], facts["samples"])
        if trainer.state.steps > trainer.steps:
            raise UsageError(
                f"checkpoint {found.path} has taken {trainer.state.steps} steps, and "
                f"{trainer.settings.epochs} epochs have only {trainer.steps}; give more"
            )
        return not changed

    def _warn(self, found: Checkpoint, changed: list[str]) -> None:
        """Say what makes other bits than those of a run that was not interrupted."""
        trainer, facts = self._trainer, found.facts
        if changed:
            LOG.warning("--force: going on with another %s", ", ".join(changed))
        others = _versions()
        for name, version in facts["versions"].items():
            if others.get(name) != version:
                LOG.warning(
                    "the checkpoint was made with %s %s, this is %s: bits may differ",
                    name,
                    version,
                    others.get(name),
                )
        if (
            trainer.settings.learning_rate_schedule != "constant"
            and facts["epochs"] != trainer.settings.epochs
        ):
            LOG.warning(
                "the learning-rate schedule spans the whole run: from here on it is "
                "that of %d epochs, before it was that of %d",
                trainer.settings.epochs,
                facts["epochs"],
            )


def _begin(name: str, work: Callable[..., None], *args: object) -> threading.Thread:
    """Do something in a thread that holds nobody up."""
    thread = threading.Thread(target=work, args=args, name=name, daemon=True)
    thread.start()
    return thread


def _change(name: str, was: str | None, now: str | None) -> str:
    if name in ("data set", "program", "penalty's graph"):
        return f"the {name} has changed"
    if name == "weights":
        return "the weights have other names or shapes"
    if name == "batch":
        was, now = ("full" if each == "None" else each for each in (was, now))
    return f"{name} was {was} and is {now}"


def _versions() -> dict[str, str]:
    return {**arithmetic(), "Python": platform.python_version()}
