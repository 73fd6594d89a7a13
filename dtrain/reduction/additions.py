"""A sum in tree order as calls that are bound once and run at every step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dtrain.reduction.partition import Call, Row
from dtrain.reduction.tree import Node, Record, fold


def bind(
    nodes: Sequence[Node], rows: Sequence[Record], target: Record, *, mine: bool
) -> list[Call]:
    """Give the calls that add the rows of consecutive nodes of one subtree.

    Args:
        nodes: which node each row is the sum of; without any the sum is zeros.
        rows: the records; their tails are only read.
        target: where the sum goes.
        mine: whether the rows' slots may be written over, because nobody else reads
            them.

    """
    if not nodes:
        return [(target.slots.fill, (0,)), (target.tail.fill, (0,))]
    calls: list[Call] = []
    free: list[Row] = []  # scratch that is not needed any more
    scratches: list[Row] = []

    def scratch(left: Record) -> Row:
        if free:
            return free.pop()
        slots = left.slots if mine else np.empty_like(target.slots)
        row = Row(slots, np.empty_like(target.tail))
        scratches.append(row)
        return row

    def add(left: Record, right: Record) -> Record:
        out = target if left is rows[0] else left
        if out is not target and not any(out is row for row in scratches):
            out = scratch(left)
        calls.append((np.add, (left.slots, right.slots, out.slots)))
        calls.append((np.add, (left.tail, right.tail, out.tail)))
        if not mine:
            free.extend(row for row in scratches if row is right)
        return out

    items: list[tuple[Node, Record]] = list(zip(nodes, rows, strict=True))
    last = fold(items, keep=lambda row: row, add=add)
    if last is not target:  # there is one row only
        if last.slots is not target.slots:
            calls.append((np.copyto, (target.slots, last.slots)))
        calls.append((np.copyto, (target.tail, last.tail)))
    return calls


def run(calls: Sequence[Call]) -> None:
    """Make the calls, one after another."""
    for function, args in calls:
        function(*args)
