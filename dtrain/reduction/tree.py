"""One order of additions for any number of ranks: the canonical binary tree.

Node (level, i) over numbers 0..count-1 is the sum of (level-1, 2i) and (level-1, 2i+1);
a missing right child adds nothing (not even zeros: -0.0 + 0.0 is another number). The
shape of the tree follows from ``count`` alone, so whoever adds a subtree gets its bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Node = tuple[int, int]
T = TypeVar("T")


class Record(Protocol):
    """What is summed: slots in the run's dtype, then a float64 tail.

    Attributes:
        slots: 1-D, C-contiguous; its bytes are a multiple of 64.
        tail: 1-D float64 (loss, sample count, metrics).
        level: it is the sum of the 2ˡᵉᵛᵉˡ blocks of one subtree; 0 for one block.

    """

    @property
    def slots(self) -> NDArray[Any]:
        """The numbers that are cut into slices, one a rank."""

    @property
    def tail(self) -> NDArray[np.float64]:
        """The numbers that every rank sums whole."""

    @property
    def level(self) -> int:
        """The height of the subtree that is summed in it already."""


R = TypeVar("R", bound=Record)


def copy(record: Record, target: R) -> R:
    """Copy the record's numbers to ``target``, where they are not; return that."""
    if record.slots is not target.slots:
        np.copyto(target.slots, record.slots, casting="no")
    np.copyto(target.tail, record.tail, casting="no")
    return target


def add(left: R, right: Record) -> R:
    """Add the numbers of a record to ``left``; return that."""
    np.add(left.slots, right.slots, left.slots)
    np.add(left.tail, right.tail, left.tail)
    return left


def subtrees(first: int, last: int, count: int) -> list[Node]:
    """Cut [first, last) into the maximal aligned subtrees (level, index).

    A subtree whose right part lies beyond ``count`` counts as whole, so a range that
    reaches ``count`` may end in one. At most 2·log2(count) + 1 of them (design §5).
    """
    nodes = []
    root = (count - 1).bit_length() if count else 0
    while first < last:
        level = 0
        while (
            level < root
            and first % (2 << level) == 0
            and min(first + (2 << level), count) <= last
        ):
            level += 1
        nodes.append((level, first >> level))
        first = min(first + (1 << level), count)
    return nodes


def fold(
    items: Iterable[tuple[Node, T]],
    keep: Callable[[T], T],
    add: Callable[[T, T], T],
) -> T:
    """Add items, each the sum of its node, of consecutive nodes, to a subtree's sum.

    A binary counter: at most log2 of the nodes are kept at a time. ``keep`` is asked
    for something that outlives its item, ``add`` adds its second argument, which is
    the youngest, to its first and returns that.
    """
    stack: list[tuple[Node, T]] = []
    for (level, index), item in items:
        value, kept = item, False
        while index % 2 and stack and stack[-1][0] == (level, index - 1):
            value, kept = add(stack.pop()[1], value), True
            level, index = level + 1, index // 2
        stack.append(((level, index), value if kept else keep(value)))
    while len(stack) > 1:  # what is left has no right sibling
        _, right = stack.pop()
        node, left = stack.pop()
        stack.append((node, add(left, right)))
    return stack[0][1]
