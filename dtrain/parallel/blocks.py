"""A batch is cut into blocks, and each rank owns a contiguous range of them.

Where the cuts between blocks lie depends on the batch alone, never on the number of
ranks: a block is the unit of exactness, a rank only the place where it is computed.
"""

from __future__ import annotations


def share(count: int, rank: int, size: int) -> range:
    """Give the numbers, out of ``0..count-1``, that ``rank`` of ``size`` ranks owns.

    Contiguous, in rank order, as even as can be; empty for some where count < size.
    """
    return range(count * rank // size, count * (rank + 1) // size)


def block_count(samples: int, block: int) -> int:
    """Count the blocks of ``block`` samples that a batch of ``samples`` is cut into.

    Nothing is padded, dropped or repeated: the last block is short where ``block``
    does not divide ``samples``.
    """
    if samples < 0 or block < 1:
        raise ValueError(f"cannot cut {samples} samples into blocks of {block}")
    return -(-samples // block)
