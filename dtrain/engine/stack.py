"""A stack: several blocks run by one call and summed as the canonical tree demands.

The first axis of every array is the block. The blocks' GradientVectors are rows of one
array; one call adds many pairs of rows that are siblings in the tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.execution.numpy_backend import Array, BoundPlan


class Place(Protocol):
    """The destination of a sum."""

    @property
    def slots(self) -> Array:
        """Memory for the derivatives."""

    @property
    def tail(self) -> NDArray[np.float64]:
        """Memory for loss, sample count and metrics."""


class Sum(NamedTuple):
    """The GradientVector of a subtree of the canonical tree.

    Attributes:
        slots: the sums of the derivatives.
        tail: the sums of loss, sample count and metrics.
        level: the subtree has 2ˡᵉᵛᵉˡ blocks.
    """

    slots: Array
    tail: NDArray[np.float64]
    level: int


class Stack:
    """A bound plan for several blocks of one length, and their GradientVectors.

    Args:
        bound: the plan; it writes the derivatives to ``slots``.
        slots: shape (blocks, slots of a vector).
        tail: the length of a vector's tail.
        length: samples in a block.
        names: the outputs that the tail sums: the loss, then metrics.

    Attributes:
        bound: the plan.
        inputs: the plan's inputs; the first axis is the sample, over all blocks.
        version: the version of the weights for which the steps on weights alone ran.
    """

    def __init__(
        self,
        bound: BoundPlan,
        slots: Array,
        tail: int,
        length: int,
        names: Sequence[str],
    ) -> None:
        self.bound = bound
        self.inputs = {
            name: array.reshape(len(slots) * length, *array.shape[2:])
            for name, array in bound.inputs.items()
        }
        self.version = -1
        self._slots = slots
        self._tails = np.zeros((len(slots), tail))
        self._length = length
        self._summed = [bound.outputs[name] for name in names if name in bound.outputs]
        self._trees: dict[int, _Tree] = {}

    def sums(self, first: int, places: Mapping[int, Place]) -> Iterator[Sum]:
        """Yield the sums of the largest subtrees that the blocks form.

        Args:
            first: the first block's number.
            places: the destinations of sums, by the number of the subtree's first
                block. Without a destination, and always for a single block, the sum
                stays in the stack's memory.
        """
        loss, *metrics = self._summed
        self._tails[:, 0] = loss
        self._tails[:, 1] = self._length
        column = 2
        for metric in metrics:
            rows = metric.reshape(len(self._tails), -1)
            self._tails[:, column : column + rows.shape[1]] = rows
            column += rows.shape[1]
        # Which rows are siblings depends on the first number modulo this power of 2.
        key = first % (1 << len(self._slots).bit_length())
        tree = self._trees.get(key)
        if tree is None:
            tree = self._trees[key] = _Tree(self._slots, self._tails, key)
        return tree.add(first, places)


class _Tree:
    """The additions of a stack, for the number of its first block."""

    def __init__(self, slots: Array, tails: NDArray[np.float64], first: int) -> None:
        self._pairs: list[tuple[Array, Array]] = []
        self._halves: list[tuple[int, Sum, Sum | None]] = []  # start, left, right
        start = 0
        while start < len(slots):
            level = 0
            while (first + start) % (2 << level) == 0 and start + (2 << level) <= len(
                slots
            ):
                level += 1
            stop, half = start + (1 << level), start + (1 << level) // 2
            for step in (1 << i for i in range(level - 1)):
                for rows in (slots[start:stop], tails[start:stop]):
                    self._pairs.append((rows[:: 2 * step], rows[step :: 2 * step]))
            left = Sum(slots[start], tails[start], level)
            right = Sum(slots[half], tails[half], level) if level else None
            self._halves.append((start, left, right))
            start = stop

    def add(self, first: int, places: Mapping[int, Place]) -> Iterator[Sum]:
        """Add all pairs, the last of each subtree into its destination; yield sums."""
        for left, right in self._pairs:
            np.add(left, right, left)
        for start, one, other in self._halves:
            out = one
            if other is not None:
                place = places.get(first + start, one)
                np.add(one.slots, other.slots, place.slots)
                np.add(one.tail, other.tail, place.tail)
                if place is not one:
                    out = Sum(place.slots, place.tail, one.level)
            yield out
