"""About how long a step computes, to tell which are worth another thread."""

from __future__ import annotations

import math

from dtrain.engine.plans.plan import Step, View
from dtrain.functions.base import FUNCTIONS, Cost

# Seconds on one core, float32: right within a factor of two or three, as they need be.
_ELEMENT = 0.08e-9
_SLOW_ELEMENT = 0.4e-9  # sin, exp, tanh; in float64 more, which is on the safe side
_SORTED_ELEMENT = 20e-9
_NATIVE = 0.25  # of these, in a compiled loop
_PRODUCT = 0.02e-9  # a multiplication and an addition in a matrix product

_SECONDS = {
    Cost.CHEAP: _ELEMENT,
    Cost.SLOW: _SLOW_ELEMENT,
    Cost.SORT: _SORTED_ELEMENT,
}
# Kernels that are not functions: an addition at indices from the data.
_KERNELS = {"add_at": Cost.SORT}


def seconds(step: Step) -> float:
    """The time a step takes beyond its calls, which Python makes one at a time."""
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
    """Return the seconds of an element."""
    return _SECONDS[_cost(kernel)]


def _size(view: View) -> int:
    return math.prod(view.shape)
