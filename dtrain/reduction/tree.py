"""The canonical binary tree: one order of additions for any number of ranks.

Node (level, i) over the blocks 0..count-1 is the sum of (level-1, 2i) and
(level-1, 2i+1). An absent right child adds nothing, not even zeros: -0.0 + 0.0 is +0.0.
The shape of the tree depends on ``count`` alone, so any rank that adds a subtree gets
the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Node = tuple[int, int]
T = TypeVar("T")


class PartialSum(Protocol):
    """The sum over the blocks of one subtree: slots in the run's dtype, and a tail.

    Attributes:
        slots: 1-D, C-contiguous; their number of bytes is a multiple of 64.
        tail: 1-D float64 (loss, sample count, metrics).
        level: the subtree's height: the sum is over 2ˡᵉᵛᵉˡ blocks; 0 for one block.

    """

    @property
    def slots(self) -> NDArray[Any]:
        """The numbers that are cut into slices, one for each rank."""

    @property
    def tail(self) -> NDArray[np.float64]:
        """The numbers that every rank sums whole."""

    @property
    def level(self) -> int:
        """The height of the subtree."""


class Total(PartialSum, Protocol):
    """The destination of a sum over all blocks; its slots may be used as scratch."""

    def receive(self, slots: NDArray[Any]) -> None:
        """Take the sum: its slots, or shared read-only memory until the next sum."""


@dataclass(frozen=True, eq=False)
class Row:
    """A partial sum in memory that the reduction allocates."""

    slots: NDArray[Any]
    tail: NDArray[np.float64]
    level: int = 0


P = TypeVar("P", bound=PartialSum)


def copy(source: PartialSum, target: P) -> P:
    """Copy the numbers to ``target``, unless they are there; return ``target``."""
    if source.slots is not target.slots:
        np.copyto(target.slots, source.slots, casting="no")
    np.copyto(target.tail, source.tail, casting="no")
    return target


def add(left: P, right: PartialSum) -> P:
    """Add the numbers of ``right`` to ``left``; return ``left``."""
    np.add(left.slots, right.slots, left.slots)
    np.add(left.tail, right.tail, left.tail)
    return left


def subtrees(first: int, last: int, count: int) -> list[Node]:
    """Cut the blocks [first, last) into maximal subtrees (level, index).

    A subtree whose right part lies beyond ``count`` counts as whole, so a range that
    ends at ``count`` may end in one. There are at most 2·log2(count) + 1 of them.
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
    """Add the items of consecutive nodes up to the sum of the subtree they make up.

    A binary counter: it holds at most log2 of the nodes at a time.

    Args:
        items: nodes, ascending, each with its sum.
        keep: return a value that stays valid when the next item is taken.
        add: add the second argument, the most recent one, to the first; return it.

    """
    stack: list[tuple[Node, T]] = []
    for (level, index), item in items:
        value, kept = item, False
        while index % 2 and stack and stack[-1][0] == (level, index - 1):
            value, kept = add(stack.pop()[1], value), True
            level, index = level + 1, index // 2
        stack.append(((level, index), value if kept else keep(value)))
    while len(stack) > 1:  # the last nodes have no right sibling
        _, right = stack.pop()
        node, left = stack.pop()
        stack.append((node, add(left, right)))
    return stack[0][1]
