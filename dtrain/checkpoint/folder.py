"""A folder of checkpoints: the last few and the best; and the weights at a path."""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from dtrain.checkpoint import file, model
from dtrain.checkpoint.file import Checkpoint
from dtrain.checkpoint.model import SavedWeights
from dtrain.errors import DataError, UsageError

LOG = logging.getLogger("dtrain")
_NAME = re.compile(r"step-(\d+)\.safetensors")
_STALE = re.compile(r"\.step-\d+\.safetensors\.[-\d]+\.tmp")


class Folder:
    """The checkpoints of one run, named by how many steps they have completed.

    Args:
        path: the folder.
        keep: so many of the newest are kept, and besides them the best: the one with
            the lowest loss, of its last validation or else of its last epoch.
    """

    def __init__(self, path: Path, keep: int = 3) -> None:
        self.path = path
        self._keep = keep
        self._losses: dict[int, float] = {}
        self._saved = 0  # the newest step that was saved from here
        self._room: BinaryIO | None = None
        self._lock = threading.Lock()  # of what files there are

    def open(self) -> None:
        """Make the folder, and remove what interrupted saves have left in it.

        What another run is writing there this moment stays.

        Raises:
            UsageError: it cannot be made, or not be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".step-0.safetensors.{threading.get_ident()}.tmp"
            probe.touch()
            for path in self.path.iterdir():
                if _STALE.fullmatch(path.name):
                    with suppress(FileNotFoundError):  # another run has renamed it
                        if file.abandoned(path):
                            path.unlink()
        except OSError as error:
            raise UsageError(
                f"--checkpoint {self.path}: cannot write into it: {error.strerror}"
            ) from None

    def make_room(self, size: int) -> None:
        """Have room for a save that must be quick, if the disk has it twice."""
        room = self.path / f".step-0.safetensors.{os.getpid()}.tmp"
        with suppress(OSError):
            if shutil.disk_usage(self.path).free > 2 * size:
                self._room = file.reserve(room, size)

    def close(self) -> bool:
        """Give back the room that was not needed; tell whether there was any."""
        room = self._take_room()
        if room is not None:
            with suppress(OSError), room:
                Path(room.name).unlink()
        return room is not None

    def _take_room(self) -> BinaryIO | None:
        with self._lock:
            room, self._room = self._room, None
        if room is not None and not os.fstat(room.fileno()).st_nlink:
            room.close()  # it was removed
            return None
        return room

    def steps(self) -> list[int]:
        """Return the steps of its checkpoints, newest first."""
        try:
            names = [_NAME.fullmatch(path.name) for path in self.path.iterdir()]
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {error.strerror}") from None
        return sorted((int(name[1]) for name in names if name), reverse=True)

    def at(self, steps: int) -> Path:
        """Return the file of a step."""
        return self.path / f"step-{steps:08}.safetensors"

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that verifies; a damaged one is warned of.

        Raises:
            DataError: there are checkpoints, but none verifies.
        """
        found = self.steps()
        for steps in found:
            try:
                return file.read(self.at(steps))
            except DataError as error:
                LOG.warning("%s; looking for the one before", error)
        if found:
            raise DataError(f"no checkpoint in {self.path} can be read")
        return None

    def save(
        self,
        arrays: Mapping[str, NDArray[Any]],
        facts: Mapping[str, Any],
        *,
        durable: bool = True,
    ) -> Path:
        """Write a checkpoint, then remove those that need not be kept.

        What is ahead of all that were saved from here goes, too: it was damaged, or is
        of a run that was left by ``--force``.

        Raises:
            OSError: it cannot be written; the others are kept.
        """
        steps = int(arrays["steps"])
        room = None if durable else self._take_room()
        try:
            file.write(self.at(steps), arrays, facts, durable=durable, room=room)
        except OSError:
            if not self.close():
                raise
            file.write(self.at(steps), arrays, facts, durable=durable)
        with self._lock, suppress(OSError):
            # A save at once may have overtaken one that a thread was writing.
            self._saved = max(steps, self._saved)
            there = [each for each in self.steps() if each <= self._saved]
            kept = {*there[: self._keep], self._best(there)}
            for each in self.steps():
                if each not in kept:
                    self.at(each).unlink(missing_ok=True)
        return self.at(steps)

    def _best(self, there: list[int]) -> int:
        """Return the step with the lowest loss; of equal ones the first."""
        for steps in there:
            if steps not in self._losses:
                loss = file.last_loss(self.at(steps))
                self._losses[steps] = math.inf if loss is None else loss
        return min(reversed(there), key=self._losses.__getitem__)


def load(path: str | os.PathLike[str]) -> SavedWeights:
    """Read weights by name: what `Run.save` wrote, or those of a checkpoint.

    The result is a dict whose ``facts`` are what the file remembers of the run:
    program, columns, loss, categories.

    Args:
        path: a file, or a folder of checkpoints, of which the newest that verifies is
            taken.

    Raises:
        DataError: if there is no such file, it holds no weights, or it is a damaged
            checkpoint.

    Example:
        >>> import tempfile, dtrain, numpy as np
        >>> from dtrain.checkpoint.output import save
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save({"W0": np.ones(3)}, folder + "/w.safetensors")
        ...     dtrain.load(folder + "/w.safetensors")
        {'W0': array([1., 1., 1.])}
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as parse

    where = Path(path)
    if os.path.isdir(where):
        newest = Folder(where).newest()
        if newest is None:
            raise DataError(f"there is no checkpoint in {path}")
        return newest.weights()
    try:
        content = where.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read weights from {path}: {error.strerror}") from None
    if file.is_checkpoint(content):
        return file.read(where).weights()
    try:
        return SavedWeights(parse(content), model.read(file.metadata_of(content)))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} holds no weights that dtrain has saved: {error}"
        ) from None
