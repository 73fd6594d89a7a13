"""The sum of a step: subtrees on each rank, then slices across ranks.

Each rank adds the subtrees in its range of blocks while their partial sums arrive. Then
every rank finishes the tree for its slice of the slots, and all ranks get the finished
slices: through memory where ranks share it, by messages between those that do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from dtrain.reduction.communicator import Communicator, Position, Scale
from dtrain.reduction.memory import KEPT, Memory
from dtrain.reduction.partition import Groups, Partition
from dtrain.reduction.tree import Node, PartialSum, Total, copy
from dtrain.reduction.tree_sum import TreeSum


class Arrivals:
    """The partial sums of a rank's blocks as they arrive, each with its node.

    Args:
        own: the rank's blocks.
        partials: the partial sums.
        position: how far the rank has come, for its watchdog.

    Attributes:
        reached: the first block whose partial sum has not arrived yet.

    """

    def __init__(
        self, own: range, partials: Iterable[PartialSum], position: Position
    ) -> None:
        self._own = own
        self._position = position
        self.reached = position.reached = own.start
        self._partials = iter(partials)

    def one(self) -> tuple[Node, PartialSum]:
        """Return the next partial sum; raise ValueError if it does not fit."""
        partial = next(self._partials, None)
        if partial is None:
            raise self._error(f"partial sums of only those up to {self.reached}")
        start, level = self.reached, partial.level
        self.reached = self._position.reached = start + (1 << level)
        if start % (1 << level) or self.reached > self._own.stop:
            raise self._error(f"a sum of {1 << level} blocks starting at {start}")
        return (level, start >> level), partial

    def until(self, stop: int) -> Iterator[tuple[Node, PartialSum]]:
        """Yield the partial sums up to block ``stop``."""
        while self.reached < stop:
            yield self.one()

    def end(self) -> None:
        """Raise ValueError if there are more."""
        if next(self._partials, None) is not None:
            raise self._error("more partial sums")

    def _error(self, found: str) -> ValueError:
        own = self._own
        return ValueError(
            f"this rank has {len(own)} blocks, {own.start} to {own.stop}, but was "
            f"given {found}"
        )


class Reduction:
    """One rank's part in all sums of a world; its memory is allocated once.

    Args:
        groups: the ranks that may be able to share memory.

    """

    def __init__(self, groups: Groups) -> None:
        self._memory = Memory(groups)
        self._subtree = TreeSum()
        self._partitions: dict[tuple[Any, ...], Partition] = {}
        # The total and partition of the last sum: most sums repeat it.
        self._last: tuple[PartialSum, Partition] | None = None

    @property
    def groups(self) -> Groups:
        """The ranks that share memory; see ``Memory.groups``."""
        return self._memory.groups

    def run(
        self,
        ranks: Communicator,
        count: int,
        partials: Iterable[PartialSum],
        total: Total,
        flags: int,
        scale: Scale,
    ) -> int:
        """Sum over all ranks into ``total``; return their flag words, OR-ed."""
        part = self._partition(ranks, count, total)
        rows = self._rows(part, total)
        arrivals = Arrivals(part.owned, partials, ranks.position)
        for first, stop in part.own_spans:
            item = arrivals.one()
            if arrivals.reached == stop:
                copy(item[1], rows[first])
            else:
                self._subtree.run(chain([item], arrivals.until(stop)), rows[first])
        arrivals.end()
        if _alone(part):
            scale(total.slots, total.tail)
            total.receive(total.slots)
            return flags
        return self._memory.exchange(part, total).finish(ranks, flags, scale)

    def rows(
        self, ranks: Communicator, count: int, total: Total
    ) -> Mapping[int, PartialSum]:
        """Return the memory of this rank's subtrees in the next sum."""
        return self._rows(self._partition(ranks, count, total), total)

    def leave(self) -> None:
        """Release the ranks that wait for this one, which leaves for good."""
        self._memory.leave()

    def absent(self) -> list[int]:
        """Return the ranks that this one waits for in shared memory."""
        return self._memory.absent()

    def _rows(self, part: Partition, total: Total) -> Mapping[int, PartialSum]:
        # A rank alone sums in the total itself.
        return {0: total} if _alone(part) else self._memory.next_buffers(part).own

    def _partition(self, ranks: Communicator, count: int, total: Total) -> Partition:
        """Return the partition of a sum, and make room for it; collective."""
        if self._last and self._last[0] is total and self._last[1].count == count:
            return self._last[1]
        slots = total.slots
        key = (count, slots.size, slots.dtype, total.tail.size)
        part = self._partitions.get(key)
        if part is None or not (_alone(part) or self._memory.make_room(ranks, part)):
            if len(self._partitions) == KEPT:
                self._partitions.clear()
            part = Partition(ranks.rank, ranks.size, self.groups, *key)
            if not (_alone(part) or self._memory.make_room(ranks, part)):
                self._partitions.clear()
                return self._partition(ranks, count, total)
            self._partitions[key] = part
        self._last = total, part
        return part


def _alone(part: Partition) -> bool:
    """Return whether there is only one rank, with something to sum."""
    return part.size == 1 and part.count > 0
