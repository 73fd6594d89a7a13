"""Save a run while it trains, and resume it: rank 0 writes, all ranks follow.

After a completed step every rank has the same state, so rank 0 can save it without
asking the others. It copies the state between two steps, and a thread writes the copy.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.checkpoint.file import FORMAT
from dtrain.checkpoint.folder import Folder
from dtrain.errors import DtrainError, UsageError
from dtrain.problem.agreement import together
from dtrain.training.model import model_of
from dtrain.training.resume import adopt, versions
from dtrain.training.state import BY_EPOCH
from dtrain.training.trainer import Trainer

LOG = logging.getLogger("dtrain")
_HEADER = 1 << 16  # bytes that are enough for what a file holds beside the arrays


class Saver:
    """Saves a trainer's state and restores it; ranks other than 0 only follow.

    Args:
        trainer: the trainer, after its set-up.

    Attributes:
        resumed: the step that the run was resumed from; ``None`` if from the start.
    """

    def __init__(self, trainer: Trainer) -> None:
        options = trainer.settings.checkpoint
        assert options is not None  # noqa: S101  (the caller has looked)
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
        """Open the folder; resume from its newest checkpoint if asked to; collective.

        Raises:
            UsageError: there are checkpoints, but resuming was not asked for; or they
                are of another run.
        """
        world, state = self._trainer.world, self._trainer.state
        found = np.full(1, -1, np.int64)
        with together(world):
            if world.rank == 0:
                self._refuse_to_overwrite()
                self._folder.open()
                newest = self._folder.newest() if self._options.resume else None
                if newest is not None:
                    if adopt(self._trainer, newest, force=self._options.force):
                        self._saved = state.steps
                    found[0] = state.steps
                    LOG.info("resuming from step %d: %s", found[0], newest.path)
                elif self._options.resume:
                    LOG.info(
                        "no checkpoint in %s: starting from the beginning",
                        self._folder.path,
                    )
                self._prepare()
        world.broadcast(found)
        if found[0] >= 0:
            self.resumed = int(found[0])
        # A rank 0 that was lost here may have sent its state to some ranks.
        if found[0] >= 0 or world.lost:
            state.broadcast(world)
        self._last = time.monotonic()

    def take_over(self) -> None:
        """Prepare to save if this rank has become rank 0, because that one was lost."""
        if self._trainer.world.rank == 0 and not self._copy:
            with suppress(DtrainError):  # the next save fails as well, and warns
                self._folder.open()
            self._prepare()

    def _prepare(self) -> None:
        """Reserve memory for copies of the state, and disk space for a quick save."""
        self._copy = self._trainer.state.copies()
        if self._maker is not None:  # after a rank was lost, this is done again
            return
        size = _HEADER + sum(array.nbytes for array in self._copy.values())
        self._maker = _begin("room", self._folder.make_room, size)

    def after_step(self, *, asked: bool) -> None:
        """Save if it is due or was asked for; one save at a time."""
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
        """Write the current state to the disk, if it is not there yet."""
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
        """Remove everything but checkpoints from the folder."""
        self.wait()
        if self._maker is not None:
            self._maker.join()
        self._folder.close()

    def save_now(self) -> bool:
        """Save the last completed step from another thread; do not wait for a disk.

        Returns:
            Whether there is a checkpoint to resume from; ranks other than 0 say True.
        """
        state = self._trainer.state
        if self._trainer.world.rank == 0:
            with state.whole:
                if self._saved != state.steps:
                    self._write(state.arrays, self._facts(), durable=False)
            saved = self.newest
            LOG.info("stopping, %s", self.describe(saved))
            return saved >= 0
        return True

    @property
    def newest(self) -> int:
        """The step that a run that stops now can be resumed from; −1: none."""
        saved = self._saved
        if saved < 0:  # an earlier rank 0, or an earlier run, may have saved
            with suppress(DtrainError):
                saved = max(self._folder.steps(), default=-1)
        return saved

    def describe(self, saved: int) -> str:
        """Return a text that says which checkpoint a run has."""
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
        """Write a checkpoint; if that fails, warn, and keep the older ones."""
        steps = int(arrays["steps"])
        weights = arrays["weights"]
        # Unlike an array of truth values, min and max need no memory.
        if not np.isfinite([weights.min(initial=0), weights.max(initial=0)]).all():
            return  # the next step finds this, and ends the run
        begun = 1 + steps // self._trainer.order.steps_per_epoch
        arrays = {**arrays, **{name: arrays[name][:begun] for name in BY_EPOCH}}
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
                f"--checkpoint {self._folder.path} holds the checkpoints of a run; "
                "continue it with --resume, or give another folder"
            )

    def _facts(self) -> dict[str, Any]:
        """Return what a checkpoint records of its run."""
        trainer = self._trainer
        loss = trainer.state.judged
        return {
            "format": FORMAT,
            "steps": trainer.state.steps,
            "epochs": trainer.settings.epochs,
            "loss": loss,
            "samples": trainer.order.samples,
            "steps_per_epoch": trainer.order.steps_per_epoch,
            "weights": {k: list(v) for k, v in trainer.problem.layout.shapes.items()},
            "run": trainer.identity,
            "model": model_of(trainer),
            "configuration": trainer.settings.describe(),
            "ranks": trainer.world.size,
            "versions": versions(),
        }


def _begin(name: str, work: Callable[..., None], *args: object) -> threading.Thread:
    """Do something in a thread that does not keep the process alive."""
    thread = threading.Thread(target=work, args=args, name=name, daemon=True)
    thread.start()
    return thread
