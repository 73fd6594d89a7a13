"""A batch is cut into blocks, and each rank owns a contiguous range of them.

Where the cuts between blocks lie depends on the batch alone, never on the number of
ranks: a block is the unit of exactness, a rank only the place where it is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


def share(count: int, rank: int, size: int) -> range:
    """Give the numbers, out of ``0..count-1``, that ``rank`` of ``size`` ranks owns.

    Contiguous, in rank order, as even as can be; empty for some where count < size.
    """
    return range(count * rank // size, count * (rank + 1) // size)


@dataclass(frozen=True)
class Block:
    """Samples ``[start, stop)`` of a batch, the ``number``-th of its blocks."""

    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class Blocks:
    """The cut of one batch of ``samples`` into blocks of ``block`` samples.

    Nothing is padded, dropped or repeated: the last block is short where ``block``
    does not divide ``samples``.
    """

    samples: int
    block: int

    def __post_init__(self) -> None:
        if self.samples < 0 or self.block < 1:
            raise ValueError(
                f"cannot cut {self.samples} samples into blocks of {self.block}"
            )

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return -(-self.samples // self.block)

    def __getitem__(self, number: int) -> Block:
        """Give the block of that number, counted from 0."""
        if not 0 <= number < self.count:
            raise IndexError(f"block {number} of {self.count}")
        start = number * self.block
        return Block(number, start, min(start + self.block, self.samples))

    def owned(self, rank: int, size: int) -> Sequence[Block]:
        """Give the blocks of one rank out of ``size``, ascending and contiguous."""
        return [self[number] for number in share(self.count, rank, size)]
