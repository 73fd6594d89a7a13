"""The one reduction of a step: subtrees on each rank, then slices across ranks.

Each rank adds the subtrees inside its own range while its blocks arrive. Then every
rank finishes the tree for its own slice of the slots, and the finished slices go to
all: through memory that the ranks share where they can, else by messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dtrain.parallel.messages import Messages, Peers, Take
from dtrain.parallel.partition import Partition, Row
from dtrain.parallel.shared import SharedMemory
from dtrain.parallel.spare import Spare
from dtrain.parallel.tree import Node, Record

KEPT = 16  # partitions to remember: those of full and of short batches, of evaluations


class Arrivals:
    """The records of a rank's blocks as they come, each with its node in the tree."""

    def __init__(self, own: range, partials: Iterable[Record]) -> None:
        self._own = own
        self._next = own.start
        self._records = iter(partials)

    def until(self, stop: int) -> Iterator[tuple[Node, Record]]:
        """Give the records up to block ``stop``, or tell that they do not fit."""
        while self._next < stop:
            record = next(self._records, None)
            if record is None:
                raise self._wrong(f"those up to {self._next}")
            start, level = self._next, record.level
            self._next += 1 << level
            if start % (1 << level) or self._next > self._own.stop:
                raise self._wrong(f"a sum of {1 << level} from {start} on")
            yield (level, start >> level), record

    def end(self) -> None:
        """Let the records end, or tell that there are too many."""
        if next(self._records, None) is not None:
            raise self._wrong("more")

    def _wrong(self, found: str) -> ValueError:
        own = self._own
        return ValueError(
            f"this rank owns {len(own)} blocks, {own.start} to {own.stop}; it brings "
            f"{found}"
        )


class Reduction:
    """One rank's part in all sums of a world; its memory is made once and kept.

    Args:
        shared: where the ranks may share memory, their way to it.

    """

    def __init__(self, shared: SharedMemory | None = None) -> None:
        self._shared = shared
        self._messages = Messages()
        self._spare = Spare()
        self._partitions: dict[tuple[Any, ...], Partition] = {}

    def run(
        self,
        peers: Peers,
        count: int,
        partials: Iterable[Record],
        total: Record,
        flags: int,
        take: Take,
    ) -> int:
        """Sum all ranks' records into ``total``; return their flag words, OR-ed."""
        part = self._partition(peers, count, total)
        way = self._way(peers, part)
        arrivals = Arrivals(part.owned, partials)
        alone = part.size == 1 and count > 0  # then the sum is made where it is wanted
        rows: Sequence[Record] = [total] if alone else way.rows(part)
        for (level, index), row in zip(part.own_nodes, rows, strict=True):
            stop = min((index + 1) << level, part.owned.stop)
            self._spare.sum(arrivals.until(stop), row)
        arrivals.end()
        if alone:
            take(total.slots, total)
            return flags
        return way.finish(peers, part, total, flags, take)

    def rows(self, peers: Peers, count: int, like: Record) -> list[Row]:
        """Give the memory where the next sum will leave those of my subtrees."""
        part = self._partition(peers, count, like)
        return self._way(peers, part).rows(part)

    def _way(self, peers: Peers, part: Partition) -> Messages | SharedMemory:
        if self._shared:
            if self._shared.holds(peers, part):
                return self._shared
            self._shared = None  # from now on, on all ranks
        return self._messages

    def _partition(self, peers: Peers, count: int, like: Record) -> Partition:
        slots = like.slots
        key = (count, slots.size, slots.dtype, like.tail.size)
        part = self._partitions.get(key)
        if part is None:
            if len(self._partitions) == KEPT:
                self._partitions.clear()
            part = Partition(peers.rank, peers.size, *key)
            self._partitions[key] = part
        return part
