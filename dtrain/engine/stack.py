"""A stack: several blocks run by one call, and added as the canonical tree adds them.

The blocks of a stack lie along the first axis of every array. Their vectors are rows,
and rows that are siblings in the tree are added pairwise, many pairs by one call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.execution.numpy_backend import Array, BoundPlan


class Place(Protocol):
    """Memory for a sum."""

    @property
    def slots(self) -> Array:
        """For the derivatives."""

    @property
    def tail(self) -> NDArray[np.float64]:
        """For loss, sample count and metrics."""


class Sum(NamedTuple):
    """The GradientVector of a subtree of the canonical tree.

    Attributes:
        slots: the derivatives' sums.
        tail: the sums of loss, sample count and metrics.
        level: it is the sum of 2ˡᵉᵛᵉˡ blocks.
    """

    slots: Array
    tail: NDArray[np.float64]
    level: int


class Stack:
    """A bound plan for some blocks of one length, and the GradientVectors it fills.

    Args:
        bound: the plan; it writes the derivatives to ``slots``.
        slots: shape (blocks, slots of a vector).
        tail: how many numbers a vector's tail has.
        length: samples in a block.
        names: the outputs that the tail sums: the loss, then metrics.

    Attributes:
        bound: the plan.
        inputs: the plan's inputs, the samples of all blocks along the first axis.
        version: that of the weights for which the steps on weights alone have run.
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
        """The blocks' vectors, added to those of the largest subtrees they make up.

        Args:
            first: the first block's number.
            places: where the sum that begins with a block goes, by the block's number;
                without a place it stays in the stack's own memory. A block alone
                always does.
        """
        loss, *metrics = self._summed
        self._tails[:, 0] = loss
        self._tails[:, 1] = self._length
        column = 2
        for metric in metrics:
            rows = metric.reshape(len(self._tails), -1)
            self._tails[:, column : column + rows.shape[1]] = rows
            column += rows.shape[1]
        # Which rows are siblings depends on the first number up to this power of 2.
        key = first % (1 << len(self._slots).bit_length())
        tree = self._trees.get(key)
        if tree is None:
            tree = self._trees[key] = _Tree(self._slots, self._tails, key)
        return tree.add(first, places)


class _Tree:
    """The additions of a stack that begins at a certain block."""

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
        """Add all pairs, the last of each subtree into its place; give the sums."""
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
