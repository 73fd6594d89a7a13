"""The one reduction of a step: subtrees on each rank, then slices across ranks.

Each rank adds the subtrees inside its own range while its blocks arrive. Then every
rank gets everybody's sums for its own slice of the slots, finishes the tree there, and
the finished slices are gathered. Tails are short and are summed whole by each rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dtrain.parallel.blocks import share
from dtrain.parallel.tree import Node, Record, fold, subtrees

ALIGNMENT = 64  # bytes: no two ranks write to one cache line

Message = tuple[int, NDArray[Any]]  # the other rank; a contiguous 1-D buffer


class Exchange(Protocol):
    """The part of a World that a reduction needs."""

    rank: int
    size: int

    def swap(self, sends: list[Message], receives: list[Message]) -> None:
        """Send and receive buffers; see ``World.swap``."""


@dataclass(frozen=True)
class Row:
    """One partial sum: a Record in memory that the reduction owns."""

    slots: NDArray[Any]
    tail: NDArray[np.float64]
    level: int = 0


def copy(record: Record, target: Record) -> Record:
    """Copy the record's numbers to ``target``, and return that."""
    np.copyto(target.slots, record.slots, casting="no")
    np.copyto(target.tail, record.tail, casting="no")
    return target


# Inf and NaN are numbers here: whether a sum may be finite is for the trainer to check.
@np.errstate(all="ignore")
def add(left: Record, right: Record) -> Record:
    """Add the numbers of ``right`` to those of ``left``, in place, and return that."""
    np.add(left.slots, right.slots, out=left.slots)
    np.add(left.tail, right.tail, out=left.tail)
    return left


def cuts(slots: NDArray[Any], size: int) -> list[int]:
    """Cut slots in ``size`` slices at multiples of 64 bytes: give both ends of each."""
    step = ALIGNMENT // slots.itemsize
    units = -(-slots.size // step)
    return [min(units * rank // size * step, slots.size) for rank in range(size + 1)]


def alike(one: Record, other: Record) -> bool:
    """Tell whether two records have the same lengths and types."""
    return (one.slots.size, one.slots.dtype, one.tail.size) == (
        other.slots.size,
        other.slots.dtype,
        other.tail.size,
    )


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
    """The buffers of one rank's reductions, made once and used at every step."""

    def __init__(self) -> None:
        self._pool: list[Row] = []
        self._used = 0
        self._inbox: NDArray[Any] = np.empty(0, np.uint8)

    def run(
        self,
        world: Exchange,
        count: int,
        partials: Iterable[Record],
        total: Record,
        flags: int = 0,
    ) -> int:
        """Sum all ranks' records into ``total``; return their flag words, OR-ed."""
        rank, size = world.rank, world.size
        owned = [share(count, other, size) for other in range(size)]
        nodes = [subtrees(own.start, own.stop, count) for own in owned]
        rows = self._subtrees(nodes[rank], owned[rank], partials, total)
        slices = [total.slots[a:b] for a, b in pairwise(cuts(total.slots, size))]
        words = np.zeros(size, np.int64)
        words[rank] = flags
        pieces = self._exchange(world, [len(own) for own in nodes], rows, total, words)
        mine = Row(slices[rank], total.tail)
        if count:
            sums = zip(chain(*nodes), pieces, strict=True)
            copy(fold(sums, keep=lambda piece: piece, add=add), mine)
        else:
            mine.slots.fill(0)
            mine.tail.fill(0)
        others = [other for other in range(size) if other != rank]
        world.swap(
            [(other, slices[rank]) for other in others],
            [(other, slices[other]) for other in others],
        )
        return int(np.bitwise_or.reduce(words))

    def _subtrees(
        self, nodes: list[Node], own: range, partials: Iterable[Record], like: Record
    ) -> list[Record]:
        """Add each block as it arrives; give this rank's sums, one a node."""
        if self._pool and not alike(self._pool[0], like):
            self._pool.clear()
        self._used = 0

        def keep(record: Record) -> Record:
            if self._used == len(self._pool):
                row = Row(np.empty_like(like.slots), np.empty_like(like.tail))
                self._pool.append(row)
            self._used += 1
            return copy(record, self._pool[self._used - 1])

        def add_youngest(left: Record, right: Record) -> Record:
            if right is self._pool[self._used - 1]:
                self._used -= 1
            return add(left, right)

        arrivals = Arrivals(own, partials)
        for level, index in nodes:
            stop = min((index + 1) << level, own.stop)
            fold(arrivals.until(stop), keep, add_youngest)
        arrivals.end()
        return list(self._pool[: self._used])

    def _exchange(
        self,
        world: Exchange,
        lengths: list[int],
        rows: list[Record],
        total: Record,
        words: NDArray[np.int64],
    ) -> list[Record]:
        """Get all ranks' sums in order: my slice of their slots, their whole tails."""
        where = cuts(total.slots, world.size)
        ends = list(accumulate(lengths, initial=0))
        tails = np.empty((ends[-1], total.tail.size))
        for tail, row in zip(tails[ends[world.rank] :], rows, strict=False):
            tail[:] = row.tail
        low, high = where[world.rank], where[world.rank + 1]
        mine = [row.slots[low:high] for row in rows]
        inbox = self._room(ends[-1] - len(rows), high - low, total.slots.dtype)
        sends: list[Message] = []
        receives: list[Message] = []
        pieces: list[NDArray[Any]] = []
        for other, (first, last) in enumerate(pairwise(ends)):
            if other == world.rank:
                pieces += mine
                continue
            theirs = [next(inbox) for _ in range(first, last)]
            pieces += theirs
            receives.append((other, words[other : other + 1]))
            receives.append((other, tails[first:last].reshape(-1)))
            receives += [(other, piece) for piece in theirs]
            own = slice(ends[world.rank], ends[world.rank + 1])
            sends.append((other, words[world.rank : world.rank + 1]))
            sends.append((other, tails[own].reshape(-1)))
            sends += [(other, r.slots[where[other] : where[other + 1]]) for r in rows]
        world.swap(sends, receives)
        return [Row(*both) for both in zip(pieces, tails, strict=True)]

    def _room(
        self, rows: int, width: int, dtype: np.dtype[Any]
    ) -> Iterator[NDArray[Any]]:
        """Give rows to receive into; the memory grows when it must, then stays."""
        size = rows * width * dtype.itemsize
        if self._inbox.size < size:
            self._inbox = np.empty(size, np.uint8)
        return iter(self._inbox[:size].view(dtype).reshape(rows, width))
