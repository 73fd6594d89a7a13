"""The one reduction of a step: subtrees on each rank, then slices across ranks.

Each rank adds the subtrees inside its own range while its blocks arrive. Then every
rank finishes the tree for its own slice of the slots, and the finished slices go to
all: through memory where ranks share it, by messages between those that do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from dtrain.reduction.exchange import Total
from dtrain.reduction.memory import KEPT, Memory
from dtrain.reduction.partition import Groups, Partition
from dtrain.reduction.peers import Peers, Position, Scale
from dtrain.reduction.scratch import Spare
from dtrain.reduction.tree import Node, Record, copy


class Arrivals:
    """The records of a rank's blocks as they come, each with its node in the tree.

    Args:
        own: the rank's blocks.
        partials: the records.
        position: how far the rank has come, for its watchdog.

    Attributes:
        reached: the first block whose record has not come yet.

    """

    def __init__(
        self, own: range, partials: Iterable[Record], position: Position
    ) -> None:
        self._own = own
        self._position = position
        self.reached = position.reached = own.start
        self._records = iter(partials)

    def one(self) -> tuple[Node, Record]:
        """Give the next record, or tell that it does not fit."""
        record = next(self._records, None)
        if record is None:
            raise self._wrong(f"those up to {self.reached}")
        start, level = self.reached, record.level
        self.reached = self._position.reached = start + (1 << level)
        if start % (1 << level) or self.reached > self._own.stop:
            raise self._wrong(f"a sum of {1 << level} from {start} on")
        return (level, start >> level), record

    def until(self, stop: int) -> Iterator[tuple[Node, Record]]:
        """Give the records up to block ``stop``."""
        while self.reached < stop:
            yield self.one()

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
        groups: the ranks that may share memory.

    """

    def __init__(self, groups: Groups) -> None:
        self._memory = Memory(groups)
        self._spare = Spare()
        self._partitions: dict[tuple[Any, ...], Partition] = {}
        self._last: tuple[Record, Partition] | None = None  # most sums are as the last

    @property
    def groups(self) -> Groups:
        """The ranks that share memory, as far as has been tried."""
        return self._memory.groups

    def run(
        self,
        peers: Peers,
        count: int,
        partials: Iterable[Record],
        total: Total,
        flags: int,
        scale: Scale,
    ) -> int:
        """Sum all ranks' records into ``total``; return their flag words, OR-ed."""
        part = self._partition(peers, count, total)
        rows = self._rows(part, total)
        arrivals = Arrivals(part.owned, partials, peers.position)
        for first, stop in part.own_spans:
            item = arrivals.one()
            if arrivals.reached == stop:
                copy(item[1], rows[first])
            else:
                self._spare.sum(chain([item], arrivals.until(stop)), rows[first])
        arrivals.end()
        if _alone(part):
            scale(total.slots, total.tail)
            total.receive(total.slots)
            return flags
        return self._memory.exchange(part, total).finish(peers, flags, scale)

    def rows(self, peers: Peers, count: int, total: Total) -> Mapping[int, Record]:
        """Give the memory where the next sum will leave those of my subtrees."""
        return self._rows(self._partition(peers, count, total), total)

    def leave(self) -> None:
        """Release the ranks that wait for this one: it takes part in no more sums."""
        self._memory.leave()

    def absent(self) -> list[int]:
        """Return the ranks that this one waits for in shared memory."""
        return self._memory.absent()

    def _rows(self, part: Partition, total: Total) -> Mapping[int, Record]:
        # Alone, the sum is made where it is wanted.
        return {0: total} if _alone(part) else self._memory.region(part).own

    def _partition(self, peers: Peers, count: int, total: Total) -> Partition:
        """Give what is known of a sum, when there is room for it; collective."""
        if self._last and self._last[0] is total and self._last[1].count == count:
            return self._last[1]
        slots = total.slots
        key = (count, slots.size, slots.dtype, total.tail.size)
        part = self._partitions.get(key)
        if part is None or not (_alone(part) or self._memory.make_room(peers, part)):
            if len(self._partitions) == KEPT:
                self._partitions.clear()
            part = Partition(peers.rank, peers.size, self.groups, *key)
            if not (_alone(part) or self._memory.make_room(peers, part)):
                self._partitions.clear()
                return self._partition(peers, count, total)
            self._partitions[key] = part
        self._last = total, part
        return part


def _alone(part: Partition) -> bool:
    """Tell whether there is one rank, with something to sum."""
    return part.size == 1 and part.count > 0
