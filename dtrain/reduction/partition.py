"""The partition of a sum among ranks: who adds what, known to all before it begins.

Ranks that share memory are a group; a rank that shares with no other is a group of its
own. In a group each rank adds one slice of the slots. Between groups, each slice has a
carrier in every group. The carriers of a slice finish one piece of it each, in one
stage or in several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain, pairwise
from typing import Any

import numpy as np

from dtrain.reduction.blocks import share
from dtrain.reduction.tree import Node, Row, subtrees

ALIGNMENT = 64  # bytes of a cache line: no two ranks write to the same one
Groups = tuple[tuple[int, ...], ...]


def solo_groups(size: int) -> Groups:
    """Return the groups of ranks that share no memory."""
    return tuple((rank,) for rank in range(size))


def groups_by_host(hosts: Sequence[str]) -> Groups:
    """Return the groups of ranks whose hosts have the same name."""
    groups: dict[str, list[int]] = {}
    for rank, host in enumerate(hosts):
        groups.setdefault(host, []).append(rank)
    return tuple(map(tuple, groups.values()))


@dataclass(frozen=True, eq=False)
class Partition:
    """The partition of one sum, seen from one rank; it serves all sums of this size.

    Attributes:
        rank: this rank.
        size: the number of ranks.
        groups: the ranks that share memory, ascending, ordered by their first rank.
        count: the number of blocks.
        length: the number of slots of a partial sum.
        dtype: of the slots.
        tail: the number of elements of a partial sum's tail.

    """

    rank: int
    size: int
    groups: Groups
    count: int
    length: int
    dtype: np.dtype[Any]
    tail: int

    @cached_property
    def owned(self) -> range:
        """The numbers of this rank's blocks."""
        return share(self.count, self.rank, self.size)

    @cached_property
    def own_spans(self) -> list[tuple[int, int]]:
        """The range of blocks, [first, stop), of each of this rank's subtrees."""
        nodes, stop = self.nodes_of([self.rank]), self.owned.stop
        spans = [(index << level, (index + 1) << level) for level, index in nodes]
        return [(first, min(last, stop)) for first, last in spans]

    def nodes_of(self, ranks: Sequence[int]) -> list[Node]:
        """Return the subtrees that ranks make up, ascending.

        Blocks of neighbouring ranks are joined: all ranks make up the whole tree.
        """
        runs: list[tuple[int, int]] = []  # of blocks, each of neighbouring ranks
        for rank in ranks:
            own = share(self.count, rank, self.size)
            if runs and runs[-1][1] == own.start:
                runs[-1] = runs[-1][0], own.stop
            else:
                runs.append((own.start, own.stop))
        return list(chain(*(subtrees(a, b, self.count) for a, b in runs)))

    @cached_property
    def home(self) -> int:
        """The index of this rank's group."""
        return next(i for i, group in enumerate(self.groups) if self.rank in group)

    @cached_property
    def group(self) -> tuple[int, ...]:
        """The ranks of this rank's group."""
        return self.groups[self.home]

    @cached_property
    def local(self) -> int:
        """The index of this rank in its group."""
        return self.group.index(self.rank)

    @cached_property
    def carriers(self) -> int:
        """The number of ranks of each group that exchange a slice with other groups."""
        return min(map(len, self.groups))

    @cached_property
    def stages(self) -> tuple[int, ...]:
        """The number of parts that each stage between groups cuts a slice into."""
        return radices(len(self.groups))

    @cached_property
    def pieces(self) -> list[slice]:
        """This rank's slice of the slots, a piece for each group, cut at cache lines.

        The carriers of a slice finish a piece each. A rank that is no carrier has none.
        """
        if self.local >= self.carriers:
            return []
        parts = len(self.groups)
        step = ALIGNMENT // self.dtype.itemsize
        units = -(-self.length // step)
        first = self.local * parts
        ends = [
            min(units * piece // (self.carriers * parts) * step, self.length)
            for piece in range(first, first + parts + 1)
        ]
        return [slice(a, b) for a, b in pairwise(ends)]

    @cached_property
    def mine(self) -> slice:
        """The slots that this rank adds in its group's memory; empty for no carrier."""
        return span(self.pieces) if self.pieces else slice(0, 0)

    @cached_property
    def slots_bytes(self) -> int:
        """The bytes of the slots of one partial sum."""
        return self.length * self.dtype.itemsize


def span(pieces: Sequence[slice]) -> slice:
    """Join neighbouring pieces."""
    return slice(pieces[0].start, pieces[-1].stop)


def cut(rows: Sequence[Row], part: slice) -> list[Row]:
    """Return rows with the same part of the slots of each row."""
    return [Row(row.slots[part], row.tail) for row in rows]


STAGE = 2  # the cost of a stage beside its messages, in messages


@cache
def radices(groups: int) -> tuple[int, ...]:
    """Factor a number of groups into the stages of an exchange, at least cost.

    A stage of r parts costs r - 1 messages each way, and a wait. In one stage each
    group sends to all others; stages of two are recursive halving (Thakur, Rabenseifner
    and Gropp, "Optimization of Collective Communication Operations in MPICH", 2005,
    section 4.3), here for any factors.
    """

    def cost(factors: tuple[int, ...]) -> int:
        return sum(factor - 1 + STAGE for factor in factors)

    splits = (
        (factor, *radices(groups // factor))
        for factor in range(2, groups // 2 + 1)
        if groups % factor == 0
    )
    return min(((groups,), *splits), key=cost)
