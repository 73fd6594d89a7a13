"""The buffers of one partition's sums in the memory of a group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dtrain.reduction.partition import ALIGNMENT, Partition
from dtrain.reduction.tree import Row


class Buffers:
    """Views of a group's memory: flag words, partial sums and the result.

    Args:
        part: the partition.
        data: memory for flag words, tails and rows.
        result: memory for the result; none for short sums of one group, and for a rank
            alone.

    Attributes:
        words: the flag words, one for each rank of the group.
        rows: the partial sums of the group's ranks, one for each subtree.
        own: those of this rank, by the first block of each.
        flags: the flag words of all groups, OR-ed, written by one rank.
        tail: the sum of all tails, written by the same rank.
        result: the summed slots of long sums.

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
        first, step = aligned(head), aligned(part.slots_bytes)
        slots = data[first : first + subtrees * step].reshape(subtrees, step)
        slots = slots[:, : part.slots_bytes].view(part.dtype)
        self.words = data[:words].data.cast("q")
        self.rows = [Row(*both) for both in zip(slots, tails, strict=True)]
        start = sum(counts[: part.local])
        own = self.rows[start : start + counts[part.local]]
        firsts = [first for first, _ in part.own_spans]
        self.own = dict(zip(firsts, own, strict=True))
        self.result = None
        shared = np.zeros(1 + part.tail).view(np.uint8)
        if result is not None:
            first = aligned(shared.size)
            shared = result[: shared.size]
            slots = result[first : first + part.slots_bytes]
            self.result = slots.view(part.dtype)
        self.flags, self.tail = shared[:8].view(np.int64), shared[8:].view(np.float64)


def aligned(size: int) -> int:
    """Round up to whole cache lines."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def sums_bytes(part: Partition, group: Sequence[int]) -> int:
    """Return the bytes of the flag words, tails and rows of a group."""
    subtrees = sum(len(part.nodes_of([rank])) for rank in group)
    head = 8 * (len(group) + subtrees * part.tail)
    return aligned(head) + subtrees * aligned(part.slots_bytes)


def result_bytes(part: Partition) -> int:
    """Return the bytes of a result with its flags and tail."""
    return aligned(8 * (1 + part.tail)) + aligned(part.slots_bytes)
