"""Estimates of a step's run time, which decide what is worth another thread."""

from __future__ import annotations

import math

from dtrain.engine.plans.plan import Step, View
from dtrain.functions.base import FUNCTIONS, Cost

# Seconds on one core in float32, correct within a factor of three, which suffices.
_ELEMENT = 0.08e-9
_SLOW_ELEMENT = 0.4e-9  # sin, exp, tanh; more in float64, which errs on the safe side
_SORTED_ELEMENT = 20e-9
_NATIVE = 0.25  # the share of these times that a compiled loop takes
_PRODUCT = 0.02e-9  # a multiplication and an addition in a matrix product

_SECONDS = {
    Cost.CHEAP: _ELEMENT,
    Cost.SLOW: _SLOW_ELEMENT,
    Cost.SORT: _SORTED_ELEMENT,
}
# Kernels that are no base functions: addition at indices.
_KERNELS = {"add_at": Cost.SORT}


def seconds(step: Step) -> float:
    """Return the time that a step takes besides Python's calls, which hold the GIL."""
    if step.compiled:
        loops = (_each(kernel) * size for kernel, size in step.compiled)
        return sum(loops) * _NATIVE
    if step.kernel == "matmul":
        return _size(step.out) * step.inputs[0].shape[-1] * _PRODUCT
    if _cost(step.kernel) is Cost.CUBIC:
        return _size(step.inputs[0]) * step.inputs[0].shape[-1] * _PRODUCT
    return max(map(_size, (*step.inputs, step.out))) * _each(step.kernel)


def _cost(kernel: str) -> Cost:
    function = FUNCTIONS.get(kernel)
    return _KERNELS.get(kernel, Cost.CHEAP) if function is None else function.cost


def _each(kernel: str) -> float:
    """Return the seconds per element."""
    return _SECONDS[_cost(kernel)]


def _size(view: View) -> int:
    return math.prod(view.shape)
