"""What a training run is asked to do, checked once, before any work."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from numbers import Integral, Real
from typing import Any

from dtrain.descent import losses, optimizers, schedules
from dtrain.descent.losses import Loss
from dtrain.descent.penalties import Penalty
from dtrain.descent.rule import Rule
from dtrain.engine.engine import chosen, chosen_backend
from dtrain.engine.execution import EXECUTIONS
from dtrain.errors import UsageError
from dtrain.tracing.weights import check_dtype
from dtrain.worlds.watchdog import LONGEST

Schedule = Callable[[int], float]
ON_NONFINITE = {
    "stop": "end the run, naming the node that is the first not to be finite",
    "skip": "leave the step out, and warn once",
}
"""What is done where a loss or GradientVector is not finite."""


@dataclass(frozen=True, kw_only=True)
class Saving:
    """Where and how often a run is saved.

    Attributes:
        folder: of the checkpoints.
        resume: go on from the newest one in it.
        force: even if it is of another run, as far as it fits.
        every: save after so many steps.
        seconds: save after so many seconds; 60 unless ``every`` says when.
        keep: how many of the newest are kept.

    Raises:
        UsageError: one of these has no such value.
    """

    folder: str
    resume: bool = False
    force: bool = False
    every: int | None = None
    seconds: float | None = None
    keep: int = 3

    def __post_init__(self) -> None:
        if not self.folder:
            raise UsageError("checkpoint is ''; it must be a folder's path")
        if self.every is not None:
            check_whole("save_every", self.every, 1)
        check_whole("keep", self.keep, 1)
        if self.force and not self.resume:
            raise UsageError("--force says what --resume may pass over: give both")
        seconds = 60.0 if self.seconds is None and self.every is None else self.seconds
        if seconds is not None:
            if isinstance(seconds, bool) or not isinstance(seconds, Real):
                raise UsageError(f"save_seconds is {seconds!r}; it must be a number")
            if not (math.isfinite(seconds) and seconds > 0):
                raise UsageError(f"save_seconds is {seconds}; it must be above 0")
            object.__setattr__(self, "seconds", float(seconds))

    @classmethod
    def of(cls, folder: str | os.PathLike[str] | None, **options: Any) -> Saving | None:
        """The same from options; ``None`` if there is no folder and none is given.

        Raises:
            UsageError: an option is given without a folder.
        """
        if folder is not None:
            return cls(folder=os.fspath(folder), **options)
        plain = {each.name: each.default for each in fields(cls)}
        given = [name for name, value in options.items() if value != plain[name]]
        if given:
            raise UsageError(
                f"{', '.join(given)}: there is nothing to do without a folder for "
                "checkpoints (--checkpoint DIR)"
            )
        return None

    def describe(self) -> dict[str, str]:
        """Return each field as text, by the name of its option."""
        return {
            "checkpoint": self.folder,
            "resume": str(self.resume),
            "force": str(self.force),
            "save_every": str(self.every),
            "save_seconds": str(self.seconds),
            "keep": str(self.keep),
        }


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The options of a run, as `dtrain.train` documents them.

    Raises:
        UsageError: an option has no such value; the message says which there are.
    """

    epochs: int
    learning_rate: float | Schedule
    target: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    loss: str | Loss = "square"
    penalty: Penalty | None = None
    batch: int | None = None
    block: int | None = None
    optimizer: str | Rule = "sgd"
    seed: int = 0
    dtype: str = "float32"
    execution: str = "sequential"
    backend: str = "numpy"
    threads: int | None = None
    on_nonfinite: str = "stop"
    verify_every: int = 100
    learning_rate_schedule: str = "constant"
    warmup: int = 0
    timeout: float | None = None
    checkpoint: Saving | None = None
    min_ranks: int = 1

    def __post_init__(self) -> None:
        """Check every value that can be checked without data."""
        _ = self.the_loss
        if self.penalty is not None and not callable(self.penalty):
            raise UsageError(
                f"penalty is {self.penalty!r}; give a function of the weights by name, "
                "such as dtrain.penalties.Norms(l2=1e-4)"
            )
        if not isinstance(self.target, str | None):
            raise UsageError(f"target is {self.target!r}; it must be a column's name")
        if not isinstance(self.columns, Mapping) or not all(
            isinstance(text, str) for pair in self.columns.items() for text in pair
        ):
            raise UsageError(
                f"columns is {self.columns!r}; it must map names of inputs to names of "
                "columns, such as {'p': 'a'}"
            )
        chosen("execution", self.execution, EXECUTIONS)
        chosen_backend(self.backend)
        chosen("on_nonfinite", self.on_nonfinite, ON_NONFINITE)
        check_dtype(self.dtype)
        for name, least in (
            ("epochs", 0),
            ("batch", 1),
            ("block", 1),
            ("threads", 1),
            ("verify_every", 0),
            ("warmup", 0),
            ("min_ranks", 1),
        ):
            value = getattr(self, name)
            if value is not None:
                check_whole(name, value, least)
        if self.timeout is not None:
            check_seconds("timeout", self.timeout)
        if isinstance(self.seed, bool) or not isinstance(self.seed, Integral):
            raise UsageError(f"seed is {self.seed!r}; it must be a whole number")
        _ = self.rule, self.schedule(1)

    @property
    def blas_threads(self) -> int:
        """Threads inside a matrix product; other models than one run steps at once."""
        return (self.threads or 1) if self.execution == "sequential" else 1

    @property
    def the_loss(self) -> Loss:
        """The loss itself."""
        return losses.named(self.loss)

    @property
    def rule(self) -> Rule:
        """The optimizer's step rule."""
        if isinstance(self.optimizer, Rule):
            return self.optimizer
        if not isinstance(self.optimizer, str):
            raise UsageError(
                f"optimizer is {self.optimizer!r}; give a name or one of "
                "dtrain.optimizers, such as optimizers.sgd(momentum=0.9)"
            )
        return optimizers.named(self.optimizer)

    def schedule(self, steps: int) -> Schedule:
        """The learning rate as a function of the step, for a run of so many steps."""
        rate = self.learning_rate
        if callable(rate):
            if self.warmup or self.learning_rate_schedule != "constant":
                raise UsageError(
                    "learning_rate is a callable: it is the schedule, so give no other "
                    "one and no warm-up"
                )
            return rate
        if isinstance(rate, bool) or not isinstance(rate, Real):
            raise UsageError(
                f"learning_rate is {rate!r}; give a number or a callable of the step, "
                "such as one of dtrain.schedules"
            )
        if not (math.isfinite(rate) and rate >= 0):
            raise UsageError(f"learning_rate is {rate}; it must be finite and ≥ 0")
        named = schedules.named(self.learning_rate_schedule, float(rate), max(steps, 1))
        return schedules.warmup(named, self.warmup) if self.warmup else named

    def describe(self) -> dict[str, str]:
        """Each setting as text, the same for the same run; ranks compare them."""
        texts = {each.name: str(getattr(self, each.name)) for each in fields(self)}
        texts["optimizer"] = _described(self.rule)
        texts["loss"] = _described(self.the_loss)
        texts["columns"] = repr(sorted(self.columns.items()))
        texts["learning_rate"] = _described(self.learning_rate)
        texts["penalty"] = _described(self.penalty)
        return texts


def _described(value: Any) -> str:
    """What is equal as the same text, on every rank; no address, as a repr may hold."""
    kind = type(value)
    if is_dataclass(kind):
        given = ((each.name, getattr(value, each.name)) for each in fields(kind))
        inner = ", ".join(f"{name}={_described(field)}" for name, field in given)
        return f"{kind.__qualname__}({inner})"
    if isinstance(value, Real) and not isinstance(value, bool):
        return repr(float(value)).removesuffix(".0")  # 1 is 1.0
    if callable(value):
        return str(getattr(value, "__qualname__", kind.__qualname__))
    own = any("__repr__" in vars(each) for each in kind.mro()[:-1])
    return str(value) if own else kind.__qualname__


def check_seconds(name: str, value: Any) -> None:
    """Refuse what is no time, NumPy's numbers included."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not (number and 0 <= value <= LONGEST):
        raise UsageError(
            f"{name} is {value!r}; it must be seconds, 0 or more, and {LONGEST:,.0f} "
            "at most"
        )


def check_whole(name: str, value: Any, least: int) -> None:
    """Refuse what is no whole number, NumPy's included, or too small a one."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise UsageError(f"{name} is {value!r}; it must be a whole number ≥ {least}")
