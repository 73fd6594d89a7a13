"""Sums in tree order: at once, or as calls that are prepared once for every step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from dtrain.reduction.tree import Node, PartialSum, Row, add, copy, fold

Call = tuple[Callable[..., Any], tuple[Any, ...]]


class TreeSum:
    """Sum partial sums as they arrive, with scratch rows that are allocated once."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def run(self, items: Iterable[tuple[Node, PartialSum]], target: PartialSum) -> None:
        """Sum the items of consecutive nodes of one subtree into ``target``.

        The items are only read. It holds at most log2 of them at a time, the leftmost
        in ``target``.
        """
        if self._rows and not _fits(self._rows[0], target):
            self._rows.clear()
        rows, kept = self._rows, 0

        def keep(item: PartialSum) -> PartialSum:
            nonlocal kept
            kept += 1
            if kept == 1:
                return copy(item, target)
            if kept == len(rows) + 2:
                slots, tail = np.empty_like(target.slots), np.empty_like(target.tail)
                rows.append(Row(slots, tail))
            return copy(item, rows[kept - 2])

        def add_last(left: PartialSum, right: PartialSum) -> PartialSum:
            nonlocal kept
            if kept > 1 and right is rows[kept - 2]:
                kept -= 1
            return add(left, right)

        fold(items, keep, add_last)


def _fits(one: PartialSum, other: PartialSum) -> bool:
    """Return whether two partial sums have the same lengths and types."""
    return (one.slots.size, one.slots.dtype, one.tail.size) == (
        other.slots.size,
        other.slots.dtype,
        other.tail.size,
    )


def prepare(
    nodes: Sequence[Node],
    rows: Sequence[PartialSum],
    target: PartialSum,
    *,
    overwrite: bool,
) -> list[Call]:
    """Return the calls that sum the rows of consecutive nodes of one subtree.

    Args:
        nodes: the node that each row is the sum of; without nodes the sum is zeros.
        rows: the partial sums; their tails are only read.
        target: the destination of the sum.
        overwrite: whether the slots of the rows may be overwritten, because no other
            rank reads them.

    """
    if not nodes:
        return [(target.slots.fill, (0,)), (target.tail.fill, (0,))]
    calls: list[Call] = []
    free: list[Row] = []  # scratch rows that can be used again
    scratch: list[Row] = []

    def take(left: PartialSum) -> Row:
        if free:
            return free.pop()
        slots = left.slots if overwrite else np.empty_like(target.slots)
        row = Row(slots, np.empty_like(target.tail))
        scratch.append(row)
        return row

    def add(left: PartialSum, right: PartialSum) -> PartialSum:
        out = target if left is rows[0] else left
        if out is not target and not any(out is row for row in scratch):
            out = take(left)
        calls.append((np.add, (left.slots, right.slots, out.slots)))
        calls.append((np.add, (left.tail, right.tail, out.tail)))
        if not overwrite:
            free.extend(row for row in scratch if row is right)
        return out

    items: list[tuple[Node, PartialSum]] = list(zip(nodes, rows, strict=True))
    last = fold(items, keep=lambda row: row, add=add)
    if last is not target:  # there is only one row
        if last.slots is not target.slots:
            calls.append((np.copyto, (target.slots, last.slots)))
        calls.append((np.copyto, (target.tail, last.tail)))
    return calls


def run(calls: Sequence[Call]) -> None:
    """Make the calls, in order."""
    for function, args in calls:
        function(*args)
