"""Sum a value over the samples of a block, or share one value among them.

`block_sum` sums a value over the samples of a block; `to_samples` gives every sample
the same value. Each is the other's transfer function. Neither changes the shape, which
is always that of one sample.
"""

from __future__ import annotations

from dtrain.functions.base import BaseFunction, Kind, register

block_sum = register(
    BaseFunction(
        name="block_sum",
        value=lambda x: x,  # of one sample
        shape=lambda shape: shape,
        vjp=lambda v, y, x: (v,),
        varies=Kind.BLOCK,
        doc="The sum over the samples of a block (lecture, gradient descent: 'for each "
        "training sample, update GradientVector').",
    )
)

to_samples = register(
    BaseFunction(
        name="to_samples",
        value=lambda x: x,
        shape=lambda shape: shape,
        vjp=lambda v, y, x: (v,),  # summed over the block where it arrives
        takes=None,
        gives=None,
        varies=Kind.SAMPLE,
        doc="The same value for every sample of a block.",
    )
)
