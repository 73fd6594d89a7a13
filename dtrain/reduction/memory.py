"""Where ranks leave their sums: memory that a group shares, or a rank's own."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dtrain.reduction.exchange import Exchange, Total
from dtrain.reduction.partition import Groups, Partition
from dtrain.reduction.peers import Peers
from dtrain.reduction.region import Region, result_bytes, sums_bytes
from dtrain.reduction.segment import NotSharedError, Segment, open_segment

SHORT = 1 << 17  # bytes of all sums together: up to here one barrier is faster
KEPT = 4  # partitions to remember: those of full and short batches, of evaluations


class Memory:
    """One rank's way to its group's memory; it grows when it must, on all ranks.

    Args:
        groups: the ranks that could share memory, as it seems.

    Attributes:
        groups: the ranks that do, as far as has been tried: each alone where one group
            cannot.

    """

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self._data: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._segment: Segment | None = None
        self._room = 0, 0  # bytes for a long record's result, and for its sums
        self._regions: dict[Partition, tuple[Region, ...]] = {}
        self._exchanges: dict[Region, Exchange] = {}
        self._turn = 0  # which of two regions for short records comes next

    def make_room(self, peers: Peers, part: Partition) -> bool:
        """Make room for the sums of a partition; collective.

        Returns:
            Whether the partition's groups are those that there are now. Where a group
            has no memory to share, rank 0 says why, once, and each rank is alone.

        """
        if part in self._regions:
            return True
        shared = len(self.groups) < peers.size
        short = len(self.groups) == 1 and sums_bytes(part, part.group) <= SHORT
        if not short:
            most = max(sums_bytes(part, group) for group in part.groups)
            room = max(self._room[0], result_bytes(part)), max(self._room[1], most)
            if room != self._room:
                self._room, self._data = room, np.empty(0, np.uint8)
        if not self._data.size:
            self._forget()
            try:
                self._grow(peers, 2 * SHORT + sum(self._room), shared=shared)
            except NotSharedError as reason:
                text = f"no shared memory, so ranks send messages: {reason}"
                if peers.rank == 0:
                    print(text, file=sys.stderr)
                self.groups = alone(peers.size)
                self._room = 0, 0
                return False
        if len(self._regions) == KEPT:
            self._forget()
        self._regions[part] = self._place(part, short=short, shared=shared)
        return True

    def _forget(self) -> None:
        """Let go of all views of the memory."""
        self._regions.clear()
        self._exchanges.clear()

    def _grow(self, peers: Peers, size: int, *, shared: bool) -> None:
        if not shared:
            self._data = np.empty(size, np.uint8)
            return
        group = next(group for group in self.groups if peers.rank in group)
        self._segment = None  # the last hold on the old one
        self._segment = open_segment(peers, group, size)
        self._data = self._segment.data

    def leave(self) -> None:
        """Release the ranks that wait for this one: it will not come any more."""
        if self._segment is not None:
            self._segment.barrier.leave()

    def absent(self) -> list[int]:
        """Return the ranks of the group that this one waits for at its barrier."""
        if self._segment is None:
            return []
        return [self._segment.group[i] for i in self._segment.barrier.absent()]

    def _place(
        self, part: Partition, *, short: bool, shared: bool
    ) -> tuple[Region, ...]:
        """Give the regions that sums of a partition take turns to use."""
        if short:
            return Region(part, self._data), Region(part, self._data[SHORT:])
        result = self._data[2 * SHORT :]
        sums = result[self._room[0] :]
        return (Region(part, sums, result if shared else None),)

    def region(self, part: Partition) -> Region:
        """Give the region of a partition's next sum."""
        regions = self._regions[part]
        return regions[self._turn % len(regions)]

    def exchange(self, part: Partition, total: Total) -> Exchange:
        """Give the next exchange of a partition; the one after has the other turn."""
        region = self.region(part)
        self._turn = 1 - self._turn
        exchange = self._exchanges.get(region)
        if exchange is None or exchange.total is not total:
            wait = self._segment.barrier.wait if self._segment else pass_by
            exchange = Exchange(part, region, total, wait)
            self._exchanges[region] = exchange
        return exchange


def pass_by() -> None:
    """Wait for nobody, as a rank does that shares no memory."""


def alone(size: int) -> Groups:
    """Give the groups of ranks that share no memory."""
    return tuple((rank,) for rank in range(size))


def by_host(hosts: Sequence[str]) -> Groups:
    """Give the groups of ranks whose hosts have one name."""
    groups: dict[str, list[int]] = {}
    for rank, host in enumerate(hosts):
        groups.setdefault(host, []).append(rank)
    return tuple(map(tuple, groups.values()))
