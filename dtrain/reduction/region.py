"""A group's memory, cut into the places of one kind of sum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dtrain.reduction.partition import ALIGNMENT, Partition, Row


class Region:
    """A group's memory as the sums of one partition, and where their sum goes.

    Args:
        part: the partition.
        data: memory for words, tails and rows.
        result: memory for what comes out; none for short records of one group, and
            for a rank alone.

    Attributes:
        words: the flag words, one a rank of the group.
        rows: the sums of the group's ranks, one a subtree.
        own: those of this rank, by the first block of each.
        verdict: the flag words of all groups, OR-ed; one rank tells the others.
        tail: the sum of all tails; the same rank tells.
        result: where the slices of long records come together.

    """

    def __init__(
        self,
        part: Partition,
        data: NDArray[np.uint8],
        result: NDArray[np.uint8] | None = None,
    ) -> None:
        counts = [len(part.nodes_of([rank])) for rank in part.group]
        subtrees, words = sum(counts), 8 * len(part.group)
        head = words + 8 * subtrees * part.tail
        tails = data[words:head].view(np.float64).reshape(subtrees, part.tail)
        first, step = aligned(head), aligned(part.record_bytes)
        slots = data[first : first + subtrees * step].reshape(subtrees, step)
        slots = slots[:, : part.record_bytes].view(part.dtype)
        self.words = data[:words].data.cast("q")
        self.rows = [Row(*both) for both in zip(slots, tails, strict=True)]
        start = sum(counts[: part.local])
        own = self.rows[start : start + counts[part.local]]
        firsts = [first for first, _ in part.own_spans]
        self.own = dict(zip(firsts, own, strict=True))
        self.result = None
        told = np.zeros(1 + part.tail).view(np.uint8)
        if result is not None:
            first = aligned(told.size)
            told = result[: told.size]
            slots = result[first : first + part.record_bytes]
            self.result = slots.view(part.dtype)
        self.verdict, self.tail = told[:8].view(np.int64), told[8:].view(np.float64)


def aligned(size: int) -> int:
    """Fill up to whole cache lines."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def sums_bytes(part: Partition, group: Sequence[int]) -> int:
    """Tell how many bytes the words, tails and rows of a group take."""
    subtrees = sum(len(part.nodes_of([rank])) for rank in group)
    head = 8 * (len(group) + subtrees * part.tail)
    return aligned(head) + subtrees * aligned(part.record_bytes)


def result_bytes(part: Partition) -> int:
    """Tell how many bytes a result takes, and what is told beside it."""
    return aligned(8 * (1 + part.tail)) + aligned(part.record_bytes)
