"""Values of options that group what belongs together, and values as text."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from numbers import Real
from typing import Any

from dtrain.descent import schedules
from dtrain.errors import UsageError
from dtrain.training.options import ABOVE_0, FLAG, PATH, whole

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


def described(value: Any) -> str:
    """Return the same text for equal values on every rank, without addresses."""
    kind = type(value)
    if is_dataclass(kind):
        given = ((each.name, getattr(value, each.name)) for each in fields(kind))
        inner = ", ".join(f"{name}={described(field)}" for name, field in given)
        return f"{kind.__qualname__}({inner})"
    if isinstance(value, Real) and not isinstance(value, bool):
        return repr(float(value)).removesuffix(".0")  # 1 is 1.0
    if callable(value):
        return str(getattr(value, "__qualname__", kind.__qualname__))
    custom = any("__repr__" in vars(each) for each in kind.mro()[:-1])
    return str(value) if custom else kind.__qualname__
