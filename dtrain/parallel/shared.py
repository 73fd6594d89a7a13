"""The exchange of a sum through memory that all ranks share: no rank is sent anything.

Long records: each rank leaves its subtrees' sums in the segment; a barrier; each adds
its slice of all of them, in tree order, into one result; a barrier; each copies that.
A rank writes to its sums again only after the second barrier, when nobody reads them,
and to the result only after the next sum's first, when everybody has copied it: for
that, sums and result lie in regions of their own, whatever the records' lengths.

Short records: each rank leaves its sums; a barrier; each adds all of them. One barrier
is enough because the next short sum uses other memory, and the one after that begins
when all have reached the next barrier, so when nobody reads any more.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from dtrain.parallel.messages import Take
from dtrain.parallel.partition import ALIGNMENT, Partition, Row
from dtrain.parallel.segment import NotSharedError, Peers, Segment, open_segment
from dtrain.parallel.spare import Spare
from dtrain.parallel.tree import Record, add, clear, copy, fold

SHORT = 1 << 17  # bytes of all sums together: up to here one barrier is faster
KEPT = 16  # partitions to remember the views of


class Region:
    """Part of the segment as the sums of one partition.

    Attributes:
        words: the flag words, one a rank.
        tails: the tails of all ranks' sums, one a subtree.
        rows: all ranks' sums, one a subtree.
        own: those of this rank.
        result: where the slices of long records come together; none for short ones.

    """

    def __init__(
        self,
        part: Partition,
        data: NDArray[np.uint8],
        result: NDArray[np.uint8] | None = None,
    ) -> None:
        head = part.size * 8
        first = head_bytes(part)
        subtrees = len(part.nodes)
        tails = data[head : head + subtrees * part.tail * 8].view(np.float64)
        step = aligned(part.record_bytes)
        slots = data[first : first + subtrees * step].reshape(subtrees, step)
        slots = slots[:, : part.record_bytes].view(part.dtype)
        self.words = data[:head].view(np.int64)
        self.tails = tails.reshape(subtrees, part.tail)
        self.rows = [Row(*both) for both in zip(slots, self.tails, strict=True)]
        self.own = self.rows[part.numbers[part.rank]]
        self.result = None
        if result is not None:
            self.result = result[: part.record_bytes].view(part.dtype)


def aligned(size: int) -> int:
    """Fill up to whole cache lines."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def head_bytes(part: Partition) -> int:
    """The bytes in front of the rows: words and tails."""
    return aligned(8 * (part.size + len(part.nodes) * part.tail))


def needed_bytes(part: Partition) -> int:
    """The bytes of a region."""
    return head_bytes(part) + len(part.nodes) * aligned(part.record_bytes)


class SharedMemory:
    """The ranks' common memory, once they have found that they can have it."""

    def __init__(self) -> None:
        self._segment: Segment | None = None
        self._result_room = 0
        self._sums_room = 0
        self._regions: dict[Partition, tuple[Region, Region]] = {}
        self._turn = 0  # which of the two regions for short records comes next
        self._spare = Spare()

    def holds(self, peers: Peers, part: Partition) -> bool:
        """Make room for the sums of a partition, on all ranks or on none; collective.

        Where that fails, rank 0 says why, once, if a user would have expected better.
        """
        if part in self._regions:
            return True
        result, sums = part.record_bytes, needed_bytes(part)
        if sums <= SHORT:
            result, sums = 0, 0
        if not (
            self._segment and result <= self._result_room and sums <= self._sums_room
        ):
            self._result_room = max(aligned(result), self._result_room)
            self._sums_room = max(sums, self._sums_room)
            try:
                self._grow(peers)
            except NotSharedError as reason:
                if peers.rank == 0 and len(set(peers.hosts)) == 1:
                    text = f"no shared memory, so ranks send messages: {reason}"
                    print(text, file=sys.stderr)
                return False
        if len(self._regions) == KEPT:
            self._regions.clear()
        self._regions[part] = self._place(part, long=sums > 0)
        return True

    def _grow(self, peers: Peers) -> None:
        self._regions.clear()  # and with them the last hold on the old segment
        self._segment = None
        size = 2 * SHORT + self._result_room + self._sums_room
        self._segment = open_segment(peers, size)

    def _place(self, part: Partition, *, long: bool) -> tuple[Region, Region]:
        """Give the regions that sums of a partition take turns to use."""
        data = self._open.data
        if not long:
            return Region(part, data), Region(part, data[SHORT:])
        result = data[2 * SHORT :]
        region = Region(part, result[self._result_room :], result)
        return region, region

    @property
    def _open(self) -> Segment:
        if self._segment is None:
            raise RuntimeError("holds() comes first")
        return self._segment

    def rows(self, part: Partition) -> list[Row]:
        """Give memory for the sums of this rank's subtrees in the next sum."""
        return self._regions[part][self._turn].own

    def finish(
        self, _: Peers, part: Partition, total: Record, flags: int, take: Take
    ) -> int:
        """Sum all ranks' rows into ``total``; return their flag words, OR-ed.

        Raises:
            RankLostError: another rank's process has ended.

        """
        region, wait = self._regions[part][self._turn], self._open.barrier.wait
        region.words[part.rank] = flags
        wait()
        words = int(np.bitwise_or.reduce(region.words))
        if region.result is not None:
            mine = region.result[part.slices[part.rank]]
            add_slice(part, region, Row(mine, total.tail))
            wait()
            take(region.result, total)
            return words
        self._turn = 1 - self._turn
        if part.count:
            self._spare.sum(zip(part.nodes, region.rows, strict=True), total)
        else:
            clear(total)
        take(total.slots, total)
        return words


def add_slice(part: Partition, region: Region, result: Row) -> None:
    """Add this rank's slice of all sums, and all of their tails, into ``result``.

    The others read the tails, too, so it adds copies of them.
    """
    mine = part.slices[part.rank]
    pieces = [
        Row(row.slots[mine], tail)
        for row, tail in zip(region.rows, region.tails.copy(), strict=True)
    ]

    def add_out(left: Row, right: Row) -> Row:
        return add(left, right, out=result if left is pieces[0] else left)

    if not pieces:
        clear(result)
        return
    last = fold(zip(part.nodes, pieces, strict=True), keep=lambda row: row, add=add_out)
    if last is not result:  # there is one only
        copy(last, result)
