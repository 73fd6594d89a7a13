"""The memory in which ranks sum: shared by a group, or private to a rank."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from dtrain.reduction.buffers import Buffers, result_bytes, sums_bytes
from dtrain.reduction.communicator import Communicator
from dtrain.reduction.exchange import Exchange
from dtrain.reduction.partition import Groups, Partition, solo_groups
from dtrain.reduction.segment import NotSharedError, Segment, open_segment
from dtrain.reduction.tree import Total

SHORT = 1 << 17  # bytes of all sums together, up to which one barrier is faster
KEPT = 4  # partitions to keep: those of full and short batches, and of evaluations


class Memory:
    """One rank's access to its group's memory, which all ranks enlarge together.

    Args:
        groups: the ranks that may be able to share memory.

    Attributes:
        groups: the ranks that share memory; once a group has failed to, each rank is a
            group of its own.

    """

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self._data: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._segment: Segment | None = None
        self._room = 0, 0  # bytes for the result of a long sum, and for its rows
        self._buffers: dict[Partition, tuple[Buffers, ...]] = {}
        self._exchanges: dict[Buffers, Exchange] = {}
        self._turn = 0  # which of two buffers for short sums is next

    def make_room(self, ranks: Communicator, part: Partition) -> bool:
        """Make room for the sums of a partition; collective.

        Returns:
            Whether the partition's groups are still the groups. If a group cannot share
            memory, rank 0 reports it, once, and each rank becomes a group of its own.

        """
        if part in self._buffers:
            return True
        shared = len(self.groups) < ranks.size
        short = len(self.groups) == 1 and sums_bytes(part, part.group) <= SHORT
        if not short:
            most = max(sums_bytes(part, group) for group in part.groups)
            room = max(self._room[0], result_bytes(part)), max(self._room[1], most)
            if room != self._room:
                self._room, self._data = room, np.empty(0, np.uint8)
        if not self._data.size:
            self._forget()
            try:
                self._grow(ranks, 2 * SHORT + sum(self._room), shared=shared)
            except NotSharedError as reason:
                text = f"no shared memory, so ranks send messages: {reason}"
                if ranks.rank == 0:
                    print(text, file=sys.stderr)
                self.groups = solo_groups(ranks.size)
                self._room = 0, 0
                return False
        if len(self._buffers) == KEPT:
            self._forget()
        self._buffers[part] = self._divide(part, short=short, shared=shared)
        return True

    def _forget(self) -> None:
        """Drop all views of the memory."""
        self._buffers.clear()
        self._exchanges.clear()

    def _grow(self, ranks: Communicator, size: int, *, shared: bool) -> None:
        if not shared:
            self._data = np.empty(size, np.uint8)
            return
        group = next(group for group in self.groups if ranks.rank in group)
        self._segment = None  # the last reference: unmap it before the new one is made
        self._segment = open_segment(ranks, group, size)
        self._data = self._segment.data

    def leave(self) -> None:
        """Release the ranks that wait for this one, which leaves for good."""
        if self._segment is not None:
            self._segment.barrier.leave()

    def absent(self) -> list[int]:
        """Return the ranks of the group that this one waits for at its barrier."""
        if self._segment is None:
            return []
        return [self._segment.group[i] for i in self._segment.barrier.absent()]

    def _divide(
        self, part: Partition, *, short: bool, shared: bool
    ) -> tuple[Buffers, ...]:
        """Return the buffers that a partition's sums use in turn."""
        if short:
            return Buffers(part, self._data), Buffers(part, self._data[SHORT:])
        result = self._data[2 * SHORT :]
        sums = result[self._room[0] :]
        return (Buffers(part, sums, result if shared else None),)

    def next_buffers(self, part: Partition) -> Buffers:
        """Return the buffers of a partition's next sum."""
        buffers = self._buffers[part]
        return buffers[self._turn % len(buffers)]

    def exchange(self, part: Partition, total: Total) -> Exchange:
        """Return the exchange of a partition's next sum; it takes its turn."""
        buffers = self.next_buffers(part)
        self._turn = 1 - self._turn
        exchange = self._exchanges.get(buffers)
        if exchange is None or exchange.total is not total:
            wait = self._segment.barrier.wait if self._segment else no_wait
            exchange = Exchange(part, buffers, total, wait)
            self._exchanges[buffers] = exchange
        return exchange


def no_wait() -> None:
    """Return at once: the barrier of a rank that shares no memory."""
