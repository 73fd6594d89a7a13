"""A plan: a flow graph as a flat list of steps on virtual buffers.

Every buffer is written by one step, or by the several steps of one sum. Every operand
is a view with an offset, a shape and strides. A plan allocates nothing: the backend
assigns memory to the buffers, and only the backend calls NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
External = Literal["weights", "slots"]


@dataclass(frozen=True)
class Buffer:
    """Memory that a plan needs.

    Attributes:
        size: in elements.
        dtype: of the elements.
        external: the array that provides the memory; ``None`` if the plan allocates it.
    """

    size: int
    dtype: np.dtype[Any]
    external: External | None = None


@dataclass(frozen=True)
class View:
    """An array inside a buffer; offset and strides count elements."""

    buffer: int
    offset: int
    shape: Shape
    strides: Shape

    @property
    def distinct(self) -> int:
        """The number of elements, without repetitions along broadcast axes."""
        axes = zip(self.shape, self.strides, strict=True)
        return math.prod(n for n, stride in axes if stride)

    def permuted(self, axes: Sequence[int]) -> View:
        """Return the view with its axes in another order."""
        return View(
            self.buffer,
            self.offset,
            tuple(self.shape[i] for i in axes),
            tuple(self.strides[i] for i in axes),
        )

    def inserted(self, axis: int, size: int = 1) -> View:
        """Return the view with a new axis, along which it is constant."""
        return View(
            self.buffer,
            self.offset,
            (*self.shape[:axis], size, *self.shape[axis:]),
            (*self.strides[:axis], 0, *self.strides[axis:]),
        )

    def stretched(self, shape: Shape) -> View:
        """Return the view broadcast to a shape of as many or more axes."""
        view = self
        for _ in range(len(shape) - len(self.shape)):
            view = view.inserted(0)
        strides = tuple(
            0 if old == 1 else stride
            for old, stride in zip(view.shape, view.strides, strict=True)
        )
        return View(self.buffer, self.offset, shape, strides)

    def sliced(self, axes: Sequence[tuple[int, int, int]]) -> View:
        """Return a part of the last axes: a start, a length and a step for each."""
        lead = len(self.shape) - len(axes)
        strides = self.strides[lead:]
        offset = self.offset + sum(
            start * stride for (start, _, _), stride in zip(axes, strides, strict=True)
        )
        lengths = tuple(length for _, length, _ in axes)
        if 0 in (*self.shape, *lengths):
            offset = self.offset  # an empty view must not begin outside its buffer
        steps = tuple(
            step * stride for (_, _, step), stride in zip(axes, strides, strict=True)
        )
        return View(
            self.buffer,
            offset,
            (*self.shape[:lead], *lengths),
            (*self.strides[:lead], *steps),
        )

    def same(self, other: View) -> bool:
        """Return whether both views have the same elements in the same order."""
        return self.reshaped(self.shape) == other.reshaped(self.shape)

    def reshaped(self, shape: Shape) -> View | None:
        """Return the view in another shape, in C order; ``None`` if it needs a copy."""
        old = [(n, s) for n, s in zip(self.shape, self.strides, strict=True) if n != 1]
        strides = [0] * len(shape)
        i = 0
        j = 0
        wanted = [axis for axis, n in enumerate(shape) if n != 1]
        if any(n == 0 for n in shape):
            return View(self.buffer, self.offset, shape, contiguous(shape))
        while j < len(wanted):
            first, start = i, j
            left = right = 1
            while True:  # the fewest axes on both sides with one product
                if left <= right and i < len(old):
                    left *= old[i][0]
                    i += 1
                else:
                    right *= shape[wanted[j]]
                    j += 1
                if left == right and i > first and j > start:
                    break
            for (_, outer), (n, inner) in zip(
                old[first : i - 1], old[first + 1 : i], strict=True
            ):
                if outer != n * inner:
                    return None
            stride = old[i - 1][1]
            for axis in reversed(wanted[start:j]):
                strides[axis] = stride
                stride *= shape[axis]
        return View(self.buffer, self.offset, shape, tuple(strides))


@dataclass(frozen=True)
class Step:
    """One kernel call.

    Attributes:
        kernel: a name in the backend's table.
        inputs: operands; where they broadcast, with the output's number of axes.
        out: the destination of the result.
        params: further arguments of the kernel.
        scratch: memory for intermediate values of the kernel.
    """

    kernel: str
    inputs: tuple[View, ...]
    out: View
    params: tuple[Any, ...] = ()
    scratch: tuple[View, ...] = ()

    @property
    def outs(self) -> tuple[View, ...]:
        """The views that the step writes."""
        return (self.out, *self.scratch)

    @property
    def compiled(self) -> Sequence[tuple[str, int]]:
        """The kernel and the size of each loop, if the step is compiled loops."""
        return ()


@dataclass
class Plan:
    """A graph's steps for blocks of one length.

    Attributes:
        stack: the number of blocks that one call computes.
        block: samples in a block.
        buffers: the memory needed.
        inputs: the destination of each input's values, shape (stack, block, ...).
        constants: values to write when the plan is bound.
        once: steps on weights alone, to run after each change of the weights.
        steps: steps to run for every block.
        outputs: the view of each output, with its leading axes.
    """

    stack: int
    block: int
    buffers: list[Buffer] = field(default_factory=list)
    inputs: dict[str, View] = field(default_factory=dict)
    constants: list[tuple[View, NDArray[Any]]] = field(default_factory=list)
    once: list[Step] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    outputs: dict[str, View] = field(default_factory=dict)

    @property
    def touched(self) -> int:
        """The number of bytes that all steps together read and write."""
        views = [view for step in self.steps for view in (*step.inputs, *step.outs)]
        return sum(
            view.distinct * self.buffers[view.buffer].dtype.itemsize for view in views
        )


def contiguous(shape: Shape) -> Shape:
    """Return the strides of a C-contiguous array, in elements."""
    strides = []
    stride = 1
    for n in reversed(shape):
        strides.append(stride)
        stride *= max(n, 1)
    return tuple(reversed(strides))
