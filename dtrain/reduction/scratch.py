"""Rows for what a sum in tree order keeps while it waits for its right siblings."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dtrain.reduction.partition import Row
from dtrain.reduction.tree import Node, Record, add, copy, fold


class Spare:
    """Rows to add in, made when they are needed first, then kept."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def sum(self, items: Iterable[tuple[Node, Record]], target: Record) -> None:
        """Sum the items of consecutive nodes of one subtree into ``target``.

        They are only read. At most log2 of them are kept at a time, the leftmost in
        ``target``.
        """
        if self._rows and not alike(self._rows[0], target):
            self._rows.clear()
        rows, kept = self._rows, 0

        def keep(record: Record) -> Record:
            nonlocal kept
            kept += 1
            if kept == 1:
                return copy(record, target)
            if kept == len(rows) + 2:
                slots, tail = np.empty_like(target.slots), np.empty_like(target.tail)
                rows.append(Row(slots, tail))
            return copy(record, rows[kept - 2])

        def add_youngest(left: Record, right: Record) -> Record:
            nonlocal kept
            if kept > 1 and right is rows[kept - 2]:
                kept -= 1
            return add(left, right)

        fold(items, keep, add_youngest)


def alike(one: Record, other: Record) -> bool:
    """Tell whether two records have the same lengths and types."""
    return (one.slots.size, one.slots.dtype, one.tail.size) == (
        other.slots.size,
        other.slots.dtype,
        other.tail.size,
    )
