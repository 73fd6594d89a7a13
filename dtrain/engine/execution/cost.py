"""About how long a step computes, to tell which are worth another thread."""

from __future__ import annotations

import math

from dtrain.engine.plans.plan import Step, View
from dtrain.functions import transcendental
from dtrain.functions.base import BaseFunction

# Seconds on one core, float32: right within a factor of two or three, as they need be.
_ELEMENT = 0.08e-9
_SLOW_ELEMENT = 0.4e-9  # sin, exp, tanh; in float64 more, which is on the safe side
_SORTED_ELEMENT = 20e-9
_NATIVE = 0.25  # of these, in a compiled loop
_PRODUCT = 0.02e-9  # a multiplication and an addition in a matrix product

_SLOW = {
    value.name for value in vars(transcendental).values() if type(value) is BaseFunction
}
_CUBIC = {"solve", "det", "logabsdet", "sign_of_det"}
_SORTING = {"sort", "argsort", "add_at", "scatter"}


def seconds(step: Step) -> float:
    """The time a step takes beyond its calls, which Python makes one at a time."""
    if step.compiled:
        loops = (_each(kernel) * size for kernel, size in step.compiled)
        return sum(loops) * _NATIVE
    if step.kernel == "matmul":
        return _size(step.out) * step.inputs[0].shape[-1] * _PRODUCT
    if step.kernel in _CUBIC:
        return _size(step.inputs[0]) * step.inputs[0].shape[-1] * _PRODUCT
    return max(map(_size, (*step.inputs, step.out))) * _each(step.kernel)


def _each(kernel: str) -> float:
    """Seconds for an element."""
    if kernel in _SLOW:
        return _SLOW_ELEMENT
    return _SORTED_ELEMENT if kernel in _SORTING else _ELEMENT


def _size(view: View) -> int:
    return math.prod(view.shape)
