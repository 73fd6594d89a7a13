"""Estimate the time of a step, to decide which steps deserve another thread."""

from __future__ import annotations

import math

from dtrain.engine.plans.plan import Step, View
from dtrain.functions.base import FUNCTIONS, Cost

# Seconds on one core in float32. A factor of two or three is accurate enough.
_ELEMENT = 0.08e-9
_SLOW_ELEMENT = 0.4e-9  # sin, exp, tanh; float64 takes longer, which does no harm
_SORTED_ELEMENT = 20e-9
_NATIVE = 0.25  # fraction of these times that a compiled loop takes
_PRODUCT = 0.02e-9  # a multiplication and an addition in a matrix product

_SECONDS = {
    Cost.CHEAP: _ELEMENT,
    Cost.SLOW: _SLOW_ELEMENT,
    Cost.SORT: _SORTED_ELEMENT,
}
# Kernels that are not base functions: an addition at constant indices.
_KERNELS = {"add_at": Cost.SORT}


def seconds(step: Step) -> float:
    """Return the time of a step in seconds, without Python's call overhead."""
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
    """Return the seconds for one element."""
    return _SECONDS[_cost(kernel)]


def _size(view: View) -> int:
    return math.prod(view.shape)
