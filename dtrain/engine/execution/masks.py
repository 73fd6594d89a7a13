"""Select by masks, with integer arithmetic on the bits of elements.

NumPy's copy with ``where`` goes element by element. Arithmetic on the bits is ten times
faster, and exact for infinities and NaN.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.execution.executor import Call
from dtrain.engine.plans.plan import Buffer, Plan, Step, View, contiguous

Array = NDArray[Any]
MASKED = {"keep", "drop", "select"}
"""The kernels that need scratch memory for a mask."""


def with_masks(plan: Plan) -> Plan:
    """Return the plan with scratch memory for masks: integers shaped as the output."""
    plan = replace(plan, buffers=list(plan.buffers))

    def masked(step: Step) -> Step:
        if step.kernel not in MASKED:
            return step
        shape, width = step.out.shape, plan.buffers[step.out.buffer].dtype.itemsize
        plan.buffers.append(Buffer(math.prod(shape), np.dtype(f"i{width}")))
        mask = View(len(plan.buffers) - 1, 0, shape, contiguous(shape))
        return replace(step, scratch=(mask,))

    plan.once, plan.steps = list(map(masked, plan.once)), list(map(masked, plan.steps))
    return plan


def _bits(x: Array) -> Array:
    """Return the same memory as integers."""
    return x.view(f"i{x.itemsize}")


def keep(condition: Array, a: Array, out: Array, mask: Array) -> list[Call]:
    """Compute a where the condition holds, else 0: its bits times 1 or 0."""
    return [
        (np.copyto, (mask, condition)),
        (np.multiply, (_bits(a), mask, _bits(out))),
    ]


def drop(condition: Array, b: Array, out: Array, mask: Array) -> list[Call]:
    """Compute b where the condition does not hold, else 0: its bits and a mask."""
    one = np.ones((), mask.dtype)
    return [
        (np.copyto, (mask, condition)),
        (np.subtract, (mask, one, mask)),
        (np.bitwise_and, (_bits(b), mask, _bits(out))),
    ]


def select(condition: Array, a: Array, b: Array, out: Array, mask: Array) -> list[Call]:
    """Compute a where the condition holds, else b: b ^ ((a ^ b) & mask)."""
    return [
        (np.copyto, (mask, condition)),
        (np.negative, (mask, mask)),
        (np.bitwise_xor, (_bits(a), _bits(b), _bits(out))),
        (np.bitwise_and, (_bits(out), mask, _bits(out))),
        (np.bitwise_xor, (_bits(out), _bits(b), _bits(out))),
    ]
