"""What all ranks know of a sum before it begins: who adds what, and how much it is.

Ranks that share memory are a group; a rank that shares with nobody is one alone. In a
group each rank adds one slice of the slots. Between groups each slice has a carrier in
every group, and the carriers of a slice finish a piece of it each, in one stage or in
several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.reduction.blocks import share
from dtrain.reduction.tree import Node, subtrees

ALIGNMENT = 64  # bytes: no two ranks write to one cache line
Groups = tuple[tuple[int, ...], ...]
Call = tuple[Callable[..., Any], tuple[Any, ...]]


@dataclass(frozen=True, eq=False)
class Row:
    """One partial sum: a Record in memory that the reduction owns."""

    slots: NDArray[Any]
    tail: NDArray[np.float64]
    level: int = 0


@dataclass(frozen=True, eq=False)
class Partition:
    """One sum, seen from one rank; the same for all sums of as many, as long records.

    Attributes:
        rank: this rank.
        size: how many ranks there are.
        groups: the ranks that share memory, ascending, in the order of their first.
        count: how many blocks there are.
        length: how many slots a record has.
        dtype: that of the slots.
        tail: how many numbers a record's tail has.

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
    def own_nodes(self) -> list[Node]:
        """The subtrees that this rank brings."""
        return self.nodes_of([self.rank])

    @cached_property
    def own_spans(self) -> list[tuple[int, int]]:
        """The blocks of each of them: the first, and where they end."""
        stop = self.owned.stop
        spans = [(at << level, (at + 1) << level) for level, at in self.own_nodes]
        return [(first, min(last, stop)) for first, last in spans]

    def nodes_of(self, ranks: Sequence[int]) -> list[Node]:
        """The subtrees that ranks make up, ascending; those of neighbours are joined.

        Where all are asked for that is the whole tree; none if there are no blocks.
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
        """The number of this rank's group."""
        return next(i for i, group in enumerate(self.groups) if self.rank in group)

    @cached_property
    def group(self) -> tuple[int, ...]:
        """The ranks of this rank's group."""
        return self.groups[self.home]

    @cached_property
    def local(self) -> int:
        """This rank's place in its group."""
        return self.group.index(self.rank)

    @cached_property
    def carriers(self) -> int:
        """How many ranks of each group exchange with other groups, a slice each."""
        return min(map(len, self.groups))

    @cached_property
    def stages(self) -> tuple[int, ...]:
        """In how many parts each stage of the exchange between groups cuts a slice."""
        return radices(len(self.groups))

    @cached_property
    def pieces(self) -> list[slice]:
        """This rank's slice of the slots in a piece for each group, cut at 64 bytes.

        The carriers of a slice finish a piece each. A rank that carries none has none.
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
        """Which slots this rank adds in its group's memory: none if it carries none."""
        return span(self.pieces) if self.pieces else slice(0, 0)

    @cached_property
    def record_bytes(self) -> int:
        """The bytes of the slots of one record."""
        return self.length * self.dtype.itemsize


def span(pieces: Sequence[slice]) -> slice:
    """Join neighbouring pieces."""
    return slice(pieces[0].start, pieces[-1].stop)


def cut(rows: Sequence[Row], where: slice) -> list[Row]:
    """Give the same part of the slots of each row."""
    return [Row(row.slots[where], row.tail) for row in rows]


STAGE = 2  # what a stage costs beside its messages, in messages


@cache
def radices(groups: int) -> tuple[int, ...]:
    """Factor a number of groups into the stages of an exchange, the cheapest way.

    A stage of r parts costs r - 1 messages each way, and a wait. In one stage each
    group sends to all others; by two, four, ... it is recursive halving (Thakur,
    Rabenseifner and Gropp, "Optimization of Collective Communication Operations in
    MPICH", 2005, section 4.3), for any number that is no prime.
    """

    def cost(factors: tuple[int, ...]) -> int:
        return sum(factor - 1 + STAGE for factor in factors)

    splits = (
        (factor, *radices(groups // factor))
        for factor in range(2, groups // 2 + 1)
        if groups % factor == 0
    )
    return min(((groups,), *splits), key=cost)
