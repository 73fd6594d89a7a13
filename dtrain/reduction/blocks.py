"""Cut a batch into blocks, and give each rank a contiguous range of them.

The blocks depend on the batch alone, never on the number of ranks, and a block is
computed whole on one rank.
"""

from __future__ import annotations

from functools import cache


def share(count: int, rank: int, size: int) -> range:
    """Return the numbers out of ``0..count-1`` that ``rank`` of ``size`` ranks has.

    The ranges are contiguous and in rank order, none longer than ⌈count / size⌉. They
    start at multiples of the largest possible power of two, so that they are few
    subtrees: of 63 blocks, each of 8 ranks has 8, the last one 7. Ranks have no numbers
    if count < size, and may have none if count is slightly larger.
    """
    unit = _unit(count, size)
    units = -(-count // unit)
    first, stop = units * rank // size * unit, units * (rank + 1) // size * unit
    return range(min(first, count), min(stop, count))


@cache
def _unit(count: int, size: int) -> int:
    """Return the largest power of two whose multiples make no rank's range longer."""
    most = -(-count // size)
    unit = 1
    while unit < most and 2 * unit * -(-count // (2 * unit * size)) <= most:
        unit *= 2
    return unit


def block_count(samples: int, block: int) -> int:
    """Return the number of blocks of ``block`` samples in a batch of ``samples``.

    No sample is padded, dropped or repeated: the last block is short if ``block`` does
    not divide ``samples``.
    """
    if samples < 0 or block < 1:
        raise ValueError(f"cannot cut {samples} samples into blocks of {block}")
    return -(-samples // block)
