"""The options of one training run, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from numbers import Real

from dtrain.data.gaps import POLICIES
from dtrain.descent import losses, optimizers
from dtrain.descent.losses import Loss
from dtrain.descent.rule import Rule
from dtrain.engine.engine import chosen, chosen_backend
from dtrain.engine.execution.models import EXECUTIONS
from dtrain.errors import UsageError
from dtrain.tracing.weights import check_dtype
from dtrain.training.rows import LIBRARY, ON_NONFINITE, Rows
from dtrain.training.values import (
    Checkpoint,
    Schedule,
    Spanning,
    Validation,
    described,
)


@dataclass(frozen=True, kw_only=True)
class Settings(Rows):
    """The options of a run, as `dtrain.train` takes them.

    Raises:
        UsageError: an option has no such value; the message says which there are.
    """

    def __post_init__(self) -> None:
        """Check every value that can be checked without data."""
        for option in LIBRARY:
            option.check(getattr(self, option.name))
        if self.columns is None:
            object.__setattr__(self, "columns", {})
        object.__setattr__(self, "dtype", check_dtype(self.dtype))
        if self.batch == "full":
            object.__setattr__(self, "batch", None)
        if not isinstance(self.validation, Validation | None):
            object.__setattr__(self, "validation", Validation(self.validation))
        if not isinstance(self.checkpoint, Checkpoint | None):
            object.__setattr__(self, "checkpoint", Checkpoint(self.checkpoint))
        chosen("execution", self.execution, EXECUTIONS)
        chosen("missing", self.missing, POLICIES)
        chosen("on_nonfinite", self.on_nonfinite, ON_NONFINITE)
        chosen_backend(self.backend)
        _ = self.the_loss, self.rule, self.schedule(1)

    @property
    def batch_size(self) -> int | None:
        """Samples in a step; ``None``: all of them."""
        return self.batch if isinstance(self.batch, int) else None

    @property
    def blas_threads(self) -> int:
        """Threads inside a matrix product; other models than one run steps at once."""
        return (self.threads or 1) if self.execution == "sequential" else 1

    @cached_property
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
        """Return the learning rate as a function of the step, for so many steps."""
        rate = self.learning_rate
        spanning = rate if isinstance(rate, Spanning) else None
        if spanning is None and callable(rate):
            return rate
        number = spanning.rate if spanning else rate
        if isinstance(number, bool) or not isinstance(number, Real):
            raise UsageError(
                f"learning_rate is {number!r}; give a number or a callable of the "
                "step, such as one of dtrain.schedules"
            )
        if not (math.isfinite(number) and number >= 0):
            raise UsageError(f"learning_rate is {number}; it must be finite and ≥ 0")
        return (spanning or Spanning(float(number), "constant")).over(steps)

    def describe(self) -> dict[str, str]:
        """Return each option as text, the same for equal options on every rank."""
        texts = {each.name: str(getattr(self, each.name)) for each in fields(self)}
        texts["optimizer"] = described(self.rule)
        texts["loss"] = described(self.the_loss)
        texts["columns"] = repr(sorted((self.columns or {}).items()))
        texts["learning_rate"] = described(self.learning_rate)
        if isinstance(self.class_weight, Mapping):
            factors = sorted((str(k), float(v)) for k, v in self.class_weight.items())
            texts["class_weight"] = repr(factors)
        texts["frozen"] = repr(sorted(self.frozen))
        texts["rates"] = repr(sorted((self.rates or {}).items()))
        texts["penalty"] = described(self.penalty)
        if self.validation is not None:
            texts |= self.validation.describe()
        if self.checkpoint is not None:
            texts |= self.checkpoint.describe()
        return texts

    def identity(self) -> dict[str, str]:
        """Return those options, as text, whose change gives other bits."""
        texts = self.describe()
        return {option.name: texts[option.name] for option in LIBRARY if option.bits}
