"""What all ranks know of a sum before it begins: who adds what, and how much it is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.parallel.blocks import share
from dtrain.parallel.tree import Node, subtrees

ALIGNMENT = 64  # bytes: no two ranks write to one cache line


@dataclass(frozen=True)
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
        count: how many blocks there are.
        length: how many slots a record has.
        dtype: that of the slots.
        tail: how many numbers a record's tail has.

    """

    rank: int
    size: int
    count: int
    length: int
    dtype: np.dtype[Any]
    tail: int

    @cached_property
    def owned(self) -> range:
        """The numbers of this rank's blocks."""
        return share(self.count, self.rank, self.size)

    @cached_property
    def nodes_by_rank(self) -> list[list[Node]]:
        """The subtrees that each rank brings."""
        owned = [share(self.count, rank, self.size) for rank in range(self.size)]
        return [subtrees(own.start, own.stop, self.count) for own in owned]

    @cached_property
    def own_nodes(self) -> list[Node]:
        """The subtrees that this rank brings."""
        return self.nodes_by_rank[self.rank]

    @cached_property
    def nodes(self) -> list[Node]:
        """The subtrees of all ranks, ascending."""
        return list(chain(*self.nodes_by_rank))

    @cached_property
    def numbers(self) -> list[slice]:
        """Which of all subtrees each rank brings."""
        ends = accumulate(map(len, self.nodes_by_rank), initial=0)
        return [slice(*both) for both in pairwise(ends)]

    @cached_property
    def slices(self) -> list[slice]:
        """Which slots each rank sums: cut at multiples of 64 bytes."""
        step = ALIGNMENT // self.dtype.itemsize
        units = -(-self.length // step)
        ends = [units * rank // self.size * step for rank in range(self.size + 1)]
        return [slice(*both) for both in pairwise(min(e, self.length) for e in ends)]

    @cached_property
    def record_bytes(self) -> int:
        """The bytes of the slots of one record."""
        return self.length * self.dtype.itemsize
