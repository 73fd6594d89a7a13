"""The exchange of a sum: in each group's memory, then between groups by messages.

Each rank leaves its subtrees' sums in its group's memory; a barrier; each adds its
slice of them. Where there are several groups, the carriers of a slice then send each
other those sums, each the piece that the other finishes, and the finished pieces back,
so every rank's way to other hosts is used. A barrier; each takes the result.

A rank writes to its sums again only after the second barrier, when nobody reads them,
and to the result only after the next sum's first, when everybody has taken it: for
that, sums and result lie in regions of their own, whatever the records' lengths.

Short records in one group: each rank leaves its sums; a barrier; each adds all of them.
One barrier is enough because the next short sum uses other memory, and the one after
that begins when all have reached the next barrier, so when nobody reads any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dtrain.parallel.additions import bind, run
from dtrain.parallel.partition import ALIGNMENT, Call, Partition, Row
from dtrain.parallel.tree import Node, Record

Message = tuple[int, NDArray[Any]]  # the other rank; a contiguous 1-D buffer
Take = Callable[[NDArray[Any], Any], object]  # see ``World.tree_sum``


class Peers(Protocol):
    """The part of a World that an exchange needs."""

    rank: int
    size: int
    hosts: list[str]

    def swap(self, sends: Sequence[Message], receives: Sequence[Message]) -> None:
        """Send and receive buffers; see ``World.swap``."""

    def allgather(self, data: bytes) -> list[bytes]:
        """Each rank's bytes, on every rank; see ``World.allgather``."""


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


class Exchange:
    """One rank's part in the sums of a partition, bound to memory.

    Args:
        part: the partition.
        region: the group's memory; its rows are full when `finish` is called.
        total: where the sum goes.
        wait: the group's barrier.

    """

    def __init__(
        self, part: Partition, region: Region, total: Record, wait: Callable[[], None]
    ) -> None:
        self.total = total
        self._local, self._words, self._wait = part.local, region.words, wait
        self._between: Between | None = None
        self._result: NDArray[Any] | None = region.result
        nodes = [node for rank in part.group for node in part.nodes_of([rank])]
        if len(part.groups) > 1:
            self._between = Between(part, region, total, nodes)
            self._inside = self._between.inside
        elif self._result is None:
            self._inside = bind(nodes, region.rows, total, mine=False)
        else:
            rows = cut(region.rows, part.mine)
            target = Row(self._result[part.mine], total.tail)
            self._inside = bind(nodes, rows, target, mine=True)

    def finish(self, peers: Peers, flags: int, take: Take) -> int:
        """Sum all ranks' rows into the total; return their flag words, OR-ed.

        Raises:
            RankLostError: another rank's process has ended.

        """
        words, total, result = self._words, self.total, self._result
        words[self._local] = flags
        self._wait()
        verdict = 0
        for word in words:
            verdict |= word
        for function, args in self._inside:
            function(*args)
        if self._between:
            self._between.swap(peers, verdict)
        if result is None and not self._between:
            take(total.slots, total)
            return verdict
        self._wait()
        if self._between:
            verdict = self._between.verdict()
        take(total.slots if result is None else result, total)
        return verdict


class Between:
    """The exchange of a carrier with those of the same slice in other groups.

    A rank alone sums in the total's own memory.

    Args:
        part: the partition.
        region: the group's memory.
        total: where the sum goes.
        nodes: what the group's rows are the sums of.

    Attributes:
        inside: the calls that add this rank's slice of the group's rows, to run first.

    """

    def __init__(
        self, part: Partition, region: Region, total: Record, nodes: Sequence[Node]
    ) -> None:
        self._part, self._region, self._total = part, region, total
        self._speaks = part.local == 0  # tells the others of its group what came out
        self._tail = np.empty(part.tail)
        self._words = np.zeros(len(part.groups), np.int64)
        self._outside: list[Call] = []
        self._first: tuple[list[Message], list[Message]] = ([], [])
        self._second: tuple[list[Message], list[Message]] = ([], [])
        self.inside: list[Call] = []
        if part.local < part.carriers:
            rows = dict(zip(nodes, cut(region.rows, part.mine), strict=True))
            self._prepare(*self._joined(rows))

    def _joined(self, rows: dict[Node, Row]) -> tuple[list[Row], NDArray[np.float64]]:
        """Where a slice of the group's rows is added to sums, and these sums' tails."""
        part = self._part
        joined = part.nodes_of(part.group)
        tails = np.empty((len(joined), part.tail))
        sums: list[Row] = []
        for node, tail in zip(joined, tails, strict=True):
            below = [other for other in rows if _under(node, other, part.count)]
            mine = [rows[other] for other in below]
            sums.append(Row(mine[0].slots, tail))
            self.inside += bind(below, mine, sums[-1], mine=True)
        return sums, tails

    def _prepare(self, sums: list[Row], tails: NDArray[np.float64]) -> None:
        """Prepare the messages, and the additions of what they bring."""
        part, home = self._part, self._part.home
        pieces, start = part.pieces[part.local], part.mine.start
        result = self._region.result
        result = self._total.slots if result is None else result

        def within(piece: slice) -> slice:
            return slice(piece.start - start, piece.stop - start)

        found: dict[Node, Row] = {}
        (sends, receives), (returns, arrivals) = self._first, self._second
        for number, (group, piece) in enumerate(zip(part.groups, pieces, strict=True)):
            nodes = part.nodes_of(group)
            if number == home:
                found |= zip(nodes, cut(sums, within(piece)), strict=True)
                continue
            other = group[part.local]
            theirs = np.empty((len(nodes), part.tail))
            width = pieces[home].stop - pieces[home].start
            inbox = np.empty((len(nodes), width), part.dtype)
            found |= zip(nodes, map(Row, inbox, theirs), strict=True)
            sends += [(other, self._words[home : home + 1]), (other, tails.reshape(-1))]
            sends += [(other, row.slots) for row in cut(sums, within(piece))]
            receives.append((other, self._words[number : number + 1]))
            receives.append((other, theirs.reshape(-1)))
            receives += [(other, row) for row in inbox]
            returns.append((other, result[pieces[home]]))
            arrivals.append((other, result[piece]))
        order = sorted(found, key=lambda node: node[1] << node[0])
        target = Row(result[pieces[home]], self._tail)
        rows = [found[node] for node in order]
        self._outside = bind(order, rows, target, mine=True)

    def swap(self, peers: Peers, flags: int) -> None:
        """Exchange, add, and exchange what is finished; collective, as a swap is."""
        self._words[self._part.home] = flags
        peers.swap(*self._first)
        run(self._outside)
        peers.swap(*self._second)
        if self._speaks:
            self._region.verdict[0] = np.bitwise_or.reduce(self._words)
            self._region.tail[:] = self._tail

    def verdict(self) -> int:
        """Bring the tails' sum to the total; return all flag words, OR-ed."""
        self._total.tail[:] = self._region.tail
        return int(self._region.verdict[0])


def cut(rows: Sequence[Row], where: slice) -> list[Row]:
    """Give the same part of the slots of each row."""
    return [Row(row.slots[where], row.tail) for row in rows]


def _under(node: Node, other: Node, count: int) -> bool:
    """Tell whether the blocks of ``other`` are some of those of ``node``."""
    (level, index), (low, place) = node, other
    first, last = index << level, min((index + 1) << level, count)
    return first <= place << low < last
