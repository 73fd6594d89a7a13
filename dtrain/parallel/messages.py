"""The exchange of a sum by messages: each rank is sent everybody's sums of its slice.

Two swaps: the subtrees' sums, then the finished slices. Tails are short and are summed
whole by each rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dtrain.parallel.partition import Partition, Row
from dtrain.parallel.tree import Record, add, clear, copy, fold

Message = tuple[int, NDArray[Any]]  # the other rank; a contiguous 1-D buffer
Take = Callable[[NDArray[Any], Any], object]  # see ``World.tree_sum``


class Peers(Protocol):
    """The part of a World that an exchange needs."""

    rank: int
    size: int
    hosts: list[str]

    def swap(self, sends: list[Message], receives: list[Message]) -> None:
        """Send and receive buffers; see ``World.swap``."""

    def allgather(self, data: bytes) -> list[bytes]:
        """Each rank's bytes, on every rank; see ``World.allgather``."""


class Messages:
    """The buffers of one rank's exchanges, made once and used at every step."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._inbox: NDArray[Any] = np.empty(0, np.uint8)

    def rows(self, part: Partition) -> list[Row]:
        """Give memory for the sums of this rank's subtrees."""
        if self._rows:
            slots, tail = self._rows[0].slots, self._rows[0].tail
            kept = (slots.size, slots.dtype, tail.size)
            if kept != (part.length, part.dtype, part.tail):
                self._rows.clear()
        count = len(part.own_nodes)
        while len(self._rows) < count:
            slots = np.empty(part.length, part.dtype)
            self._rows.append(Row(slots, np.empty(part.tail)))
        return self._rows[:count]

    def finish(
        self, peers: Peers, part: Partition, total: Record, flags: int, take: Take
    ) -> int:
        """Sum all ranks' rows into ``total``; return their flag words, OR-ed."""
        words = np.zeros(part.size, np.int64)
        words[part.rank] = flags
        sums = self._exchange(peers, part, words)
        slices = [total.slots[where] for where in part.slices]
        mine = Row(slices[part.rank], total.tail)
        if part.count:
            pairs = zip(part.nodes, sums, strict=True)
            copy(fold(pairs, keep=lambda row: row, add=add), mine)
        else:
            clear(mine)
        others = [other for other in range(part.size) if other != part.rank]
        peers.swap(
            [(other, slices[part.rank]) for other in others],
            [(other, slices[other]) for other in others],
        )
        take(total.slots, total)
        return int(np.bitwise_or.reduce(words))

    def _exchange(
        self, peers: Peers, part: Partition, words: NDArray[np.int64]
    ) -> list[Row]:
        """Get all ranks' sums in order: my slice of their slots, their whole tails."""
        rank, rows = part.rank, self.rows(part)
        tails = np.empty((len(part.nodes), part.tail))
        own = tails[part.numbers[rank]]
        for tail, row in zip(own, rows, strict=True):
            tail[:] = row.tail
        mine = [row.slots[part.slices[rank]] for row in rows]
        inbox = self._room(part)
        sends: list[Message] = []
        receives: list[Message] = []
        pieces: list[NDArray[Any]] = []
        for other, numbers in enumerate(part.numbers):
            if other == rank:
                pieces += mine
                continue
            theirs = [next(inbox) for _ in tails[numbers]]
            pieces += theirs
            receives.append((other, words[other : other + 1]))
            receives.append((other, tails[numbers].reshape(-1)))
            receives += [(other, piece) for piece in theirs]
            sends.append((other, words[rank : rank + 1]))
            sends.append((other, own.reshape(-1)))
            sends += [(other, row.slots[part.slices[other]]) for row in rows]
        peers.swap(sends, receives)
        return [Row(*both) for both in zip(pieces, tails, strict=True)]

    def _room(self, part: Partition) -> Iterator[NDArray[Any]]:
        """Give rows to receive into; the memory grows when it must, then stays."""
        mine = part.slices[part.rank]
        width = mine.stop - mine.start
        rows = len(part.nodes) - len(part.own_nodes)
        size = rows * width * part.dtype.itemsize
        if self._inbox.size < size:
            self._inbox = np.empty(size, np.uint8)
        return iter(self._inbox[:size].view(part.dtype).reshape(rows, width))
