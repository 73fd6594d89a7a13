"""A batch is cut into blocks, and each rank owns a contiguous range of them.

Where the cuts between blocks lie depends on the batch alone, never on the number of
ranks: a block is the unit of exactness, a rank only the place where it is computed.
"""

from __future__ import annotations

from functools import cache


def share(count: int, rank: int, size: int) -> range:
    """Give the numbers, out of ``0..count-1``, that ``rank`` of ``size`` ranks owns.

    Contiguous, in rank order, and no rank has more than ⌈count / size⌉. Within that,
    ranges begin at multiples of as high a power of two as can be, so that they are few
    subtrees: 63 blocks on 8 ranks are 8 for each but the last. Some ranks have none
    where count < size, and may where count is little more.
    """
    unit = _unit(count, size)
    units = -(-count // unit)
    first, stop = units * rank // size * unit, units * (rank + 1) // size * unit
    return range(min(first, count), min(stop, count))


@cache
def _unit(count: int, size: int) -> int:
    """Give the largest power of two in whose multiples nobody's share grows."""
    most = -(-count // size)
    unit = 1
    while unit < most and 2 * unit * -(-count // (2 * unit * size)) <= most:
        unit *= 2
    return unit


def block_count(samples: int, block: int) -> int:
    """Count the blocks of ``block`` samples that a batch of ``samples`` is cut into.

    Nothing is padded, dropped or repeated: the last block is short where ``block``
    does not divide ``samples``.
    """
    if samples < 0 or block < 1:
        raise ValueError(f"cannot cut {samples} samples into blocks of {block}")
    return -(-samples // block)
