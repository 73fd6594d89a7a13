"""Dependences: the steps of a plan that must run before each step.

A step depends on the steps that wrote its inputs and, where several steps write one
buffer, on the earlier readers and writers of the range that it writes. Dependences come
from the plan's views alone, not from the buffers' addresses: the arena reuses memory
only in an order that the dependences already demand.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from dtrain.engine.plans.plan import Plan, Step, View

Dependences = list[list[int]]
"""For each step, the earlier ones it waits for, in order."""


def dependences(plan: Plan, steps: Sequence[Step]) -> Dependences:
    """Return the earlier steps that each step waits for.

    Most buffers are written by one step; they cost one look-up for each view. For the
    others (those of sums, the rows of a batch, the slots of the derivatives) the last
    writer and the readers of each range of columns are recorded, so that steps that
    write to different ranges do not wait for each other.
    """
    writes: dict[int, list[View]] = {}
    for step in steps:
        for out in step.outs:
            writes.setdefault(out.buffer, []).append(out)
    shared = {
        buffer: _Ranges(_row(plan, buffer, views))
        for buffer, views in writes.items()
        if len(views) > 1
    }
    writer: dict[int, int] = {}
    found: Dependences = []
    for number, step in enumerate(steps):
        before: set[int] = set()
        for view in step.inputs:
            if view.buffer in shared:
                before.update(shared[view.buffer].read(view, number))
            elif view.buffer in writer:
                before.add(writer[view.buffer])
        for out in step.outs:
            if out.buffer in shared:
                before.update(shared[out.buffer].write(out, number))
            else:
                writer[out.buffer] = number
        before.discard(number)
        found.append(sorted(before))
    return found


def _row(plan: Plan, buffer: int, views: Sequence[View]) -> int:
    """Return the row length of a buffer for which writes overlap in few columns.

    In memory, samples or blocks are consecutive, and a part of each sample's value is a
    range of columns; or several values are consecutive.
    """
    size = plan.buffers[buffer].size
    rows = {plan.stack * plan.block, plan.stack, 1}
    widths = [size // n for n in sorted(rows) if n and size % n == 0]

    def depth(width: int) -> float:
        ranges = [columns(view, width) for view in views]
        return sum(stop - start for start, stop in ranges) / max(width, 1)

    return min(widths, key=depth)


def columns(view: View, row: int) -> tuple[int, int]:
    """Return the range of columns that a view may touch, for a row length.

    It is all columns if the view does not touch the same columns in each row.
    """
    if 0 in view.shape:
        return 0, 0
    low = high = view.offset % row
    for n, stride in zip(view.shape, view.strides, strict=True):
        if n == 1 or stride % row == 0:
            continue
        span = (n - 1) * stride
        low, high = low + min(span, 0), high + max(span, 0)
    return (low, high + 1) if low >= 0 and high < row else (0, row)


class _Ranges:
    """The last writer of each range of a buffer's columns, and its readers since."""

    def __init__(self, row: int) -> None:
        self._row = row
        self._starts = [0]  # first columns; a range ends where the next one starts
        self._writers: list[int | None] = [None]
        self._readers: list[list[int]] = [[]]

    def read(self, view: View, number: int) -> Iterator[int]:
        """Record that a step reads a view; yield the steps that it waits for."""
        for i in self._within(view):
            self._readers[i].append(number)
            writer = self._writers[i]
            if writer is not None:
                yield writer

    def write(self, view: View, number: int) -> Iterator[int]:
        """Record that a step writes a view; yield the steps that it waits for."""
        for i in self._within(view):
            yield from self._readers[i]
            writer = self._writers[i]
            if writer is not None:
                yield writer
            self._writers[i], self._readers[i] = number, []

    def _within(self, view: View) -> range:
        """Return the ranges that a view touches, after splitting at its ends."""
        start, stop = columns(view, self._row)
        return range(self._cut(start), self._cut(stop)) if stop > start else range(0)

    def _cut(self, column: int) -> int:
        """Return the index of the range that starts at a column; split if needed."""
        at = bisect_left(self._starts, column)
        if at == len(self._starts) or self._starts[at] != column:
            self._starts.insert(at, column)
            self._writers.insert(at, self._writers[at - 1])
            self._readers.insert(at, list(self._readers[at - 1]))
        return at
