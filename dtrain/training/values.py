"""Values of options that group what belongs together, and values as text."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from numbers import Real
from typing import Any

from dtrain.descent import schedules
from dtrain.errors import UsageError
from dtrain.training.options import ABOVE_0, AT_LEAST_0, FLAG, PATH, whole

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class Spanning:
    """A learning rate whose schedule spans the whole run, however long that is.

    Attributes:
        rate: η.
        name: the schedule: ``constant``, ``step`` or ``cosine``.
        warmup: the rate rises linearly over so many first steps.
    """

    rate: float
    name: str
    warmup: int = 0

    def over(self, steps: int) -> Schedule:
        """Return the learning rate of each step of a run with so many steps."""
        named = schedules.named(self.name, self.rate, max(steps, 1))
        return schedules.warmup(named, self.warmup) if self.warmup else named


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Where and how often a run is saved, and whether it continues from there.

    While a run with checkpoints trains, SIGUSR1 saves it; SIGUSR2, SIGTERM and SIGINT
    save and stop it. A checkpoint is also written at the end.

    Attributes:
        folder: the folder of the checkpoints.
        resume: continue from the newest checkpoint in the folder, if there is one.
        force: resume even if the program, the data or options have changed.
        every: save every so many steps.
        seconds: save every so many seconds; 60 unless ``every`` is given.
        keep: how many of the newest checkpoints to keep, beside the best one.

    Raises:
        UsageError: an attribute has no such value.
    """

    folder: str | os.PathLike[str] = field(kw_only=False)
    resume: bool = False
    force: bool = False
    every: int | None = None
    seconds: float | None = None
    keep: int = 3

    def __post_init__(self) -> None:
        PATH.check("checkpoint", self.folder)
        object.__setattr__(self, "folder", os.fspath(self.folder))
        FLAG.check("resume", self.resume)
        FLAG.check("force", self.force)
        whole(1).check("keep", self.keep)
        if self.every is not None:
            whole(1).check("every", self.every)
        if self.force and not self.resume:
            raise UsageError("--force only applies when resuming: set --resume as well")
        seconds = 60.0 if self.seconds is None and self.every is None else self.seconds
        if seconds is not None:
            ABOVE_0.check("seconds", seconds)
            object.__setattr__(self, "seconds", float(seconds))

    def describe(self) -> dict[str, str]:
        """Return each field as text, by the name of its option."""
        return {
            "checkpoint": str(self.folder),
            "resume": str(self.resume),
            "force": str(self.force),
            "save_every": str(self.every),
            "save_seconds": str(self.seconds),
            "keep": str(self.keep),
        }


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Samples that are not trained on, and what a run does with their loss.

    After an epoch the run computes the mean loss and the metrics of these samples, by
    the same exact sums as the training loss. An improvement is a loss that is lower
    than the lowest before by more than ``min_delta``.

    Attributes:
        data: a data set in any form that `dtrain.train` takes; or a number between 0
            and 1: the share of the rows that are held out of training. Which rows
            these are depends on the seed and the number of rows alone.
        every: validate after every so many epochs, and after the last one.
        patience: stop after so many validations in a row without an improvement.
        min_delta: see above.
        restore_best: at the end, return the weights of the best validation instead of
            the last ones; by default if ``patience`` is given.

    Raises:
        UsageError: an attribute has no such value.
    """

    data: Any = field(kw_only=False)
    every: int = 1
    patience: int | None = None
    min_delta: float = 0.0
    restore_best: bool | None = None

    def __post_init__(self) -> None:
        share = self.share
        if share is not None and not 0 < share < 1:
            raise UsageError(
                f"validation is {self.data!r}; a share of the rows is a number between "
                "0 and 1, such as 0.2"
            )
        if share is None and (self.data is None or isinstance(self.data, bool)):
            raise UsageError(
                f"validation is {self.data!r}; give a data set, or a share of the rows "
                "such as 0.2"
            )
        whole(1).check("validate_every", self.every)
        if self.patience is not None:
            whole(1).check("patience", self.patience)
        AT_LEAST_0.check("min_delta", self.min_delta)
        if self.restore_best is not None:
            FLAG.check("restore_best", self.restore_best)
        best = self.patience is not None if self.restore_best is None else None
        if best is not None:
            object.__setattr__(self, "restore_best", best)

    @property
    def share(self) -> float | None:
        """The share of the rows that are held out; ``None`` for a separate data set."""
        shared = isinstance(self.data, Real) and not isinstance(self.data, bool)
        return float(self.data) if shared else None

    def describe(self) -> dict[str, str]:
        """Return each field as text, by the name of its option."""
        data = self.data
        named = self.share is not None or isinstance(data, str | os.PathLike)
        return {
            "validation": str(data) if named else type(data).__name__,
            "validate_every": str(self.every),
            "patience": str(self.patience),
            "min_delta": str(float(self.min_delta)),
            "restore_best": str(self.restore_best),
        }


def described(value: Any) -> str:
    """Return the same text for equal values on every rank, without addresses."""
    kind = type(value)
    if is_dataclass(kind):
        given = ((each.name, getattr(value, each.name)) for each in fields(kind))
        inner = ", ".join(f"{name}={described(field)}" for name, field in given)
        return f"{kind.__qualname__}({inner})"
    if isinstance(value, tuple):
        return f"({', '.join(map(described, value))})"
    if isinstance(value, Real) and not isinstance(value, bool):
        return repr(float(value)).removesuffix(".0")  # 1 is 1.0
    if callable(value):
        return str(getattr(value, "__qualname__", kind.__qualname__))
    custom = any("__repr__" in vars(each) for each in kind.mro()[:-1])
    return str(value) if custom else kind.__qualname__
