"""Learning-rate schedules: the rate as a function of the step, counted from 0.

A schedule is any callable from a step to a rate. Those in this module are frozen, and
their text shows all settings, so a checkpoint detects a changed schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from dtrain.errors import UsageError, unknown

__all__ = ["SCHEDULES", "Schedule", "constant", "cosine", "step", "warmup"]

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class constant:
    """The same rate at every step: η(k) = rate.

    Raises:
        UsageError: the rate is negative or not finite.

    >>> constant(0.1)(1000)
    0.1

    """

    rate: float

    def __post_init__(self) -> None:
        _check_rate("rate", self.rate)

    def __call__(self, step: int) -> float:  # noqa: ARG002 (the same for all steps)
        """Return the rate at a step."""
        return self.rate


@dataclass(frozen=True)
class step:
    """Plateaus: η(k) = rate · factor^⌊k / every⌋.

    Raises:
        UsageError: a rate or factor is negative or not finite, or every < 1.

    >>> [step(1.0, every=2, factor=0.5)(k) for k in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]

    """

    rate: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _check_rate("rate", self.rate)
        _check_rate("factor", self.factor)
        _check_steps("every", self.every, least=1)

    def __call__(self, step: int) -> float:
        """Return the rate at a step."""
        return float(self.rate * self.factor ** (step // self.every))


@dataclass(frozen=True)
class cosine:
    """Half a cosine wave from the rate to a final rate, which is kept after the end.

    η(k) = final + ½ (rate − final)(1 + cos(π k / steps)) for k < steps: Loshchilov &
    Hutter 2017 (SGDR), eq. 5, without restarts.

    Raises:
        UsageError: a rate is negative or not finite, or steps < 1.

    >>> [round(cosine(1.0, steps=4)(k), 4) for k in (0, 1, 2, 3, 4, 5)]
    [1.0, 0.8536, 0.5, 0.1464, 0.0, 0.0]

    """

    rate: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        _check_rate("rate", self.rate)
        _check_rate("final", self.final)
        _check_steps("steps", self.steps, least=1)

    def __call__(self, step: int) -> float:
        """Return the rate at a step."""
        if step >= self.steps:
            return self.final
        wave = 1 + math.cos(math.pi * step / self.steps)
        return self.final + 0.5 * (self.rate - self.final) * wave


@dataclass(frozen=True)
class warmup:
    """Another schedule, scaled up linearly over the first steps.

    η(k) = schedule(k) · min(1, (k + 1) / steps): step 0 uses 1/steps of the rate, step
    ``steps − 1`` the full rate. Both count steps from the start of training, as in
    Goyal et al. 2017, §2.2, so a warm-up does not shift the rest of the schedule. With
    ``steps=0`` nothing is scaled.

    Raises:
        UsageError: steps < 0.

    >>> [warmup(constant(1.0), steps=4)(k) for k in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]

    """

    schedule: Schedule
    steps: int

    def __post_init__(self) -> None:
        _check_steps("steps", self.steps, least=0)

    def __call__(self, step: int) -> float:
        """Return the rate at a step."""
        rate = self.schedule(step)
        return rate if step + 1 >= self.steps else rate * (step + 1) / self.steps


SCHEDULES: dict[str, type[constant] | type[step] | type[cosine]] = {
    "constant": constant,
    "step": step,
    "cosine": cosine,
}


def named(name: str, rate: float, steps: int) -> Schedule:
    """Return the schedule of that name for a run of this many steps.

    ``step`` divides the rate by ten after each third of the run.

    Raises:
        UsageError: there is no such schedule, or the rate or the steps are invalid.

    >>> named("step", 0.5, steps=90)
    step(rate=0.5, every=30, factor=0.1)

    """
    if name == "constant":
        return constant(rate)
    if name == "step":
        return step(rate, every=-(-steps // 3))
    if name == "cosine":
        return cosine(rate, steps)
    raise unknown("learning-rate schedule", name, SCHEDULES)


def _check_rate(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise UsageError(f"schedule: {name} is {value}, it must be finite and ≥ 0")


def _check_steps(name: str, value: int, least: int) -> None:
    if value < least:
        raise UsageError(f"schedule: {name} is {value}, it must be {least} or more")


def __dir__() -> list[str]:
    """List the public names, for tab completion."""
    return sorted(__all__)
