"""A stack: several blocks computed by one call, summed along the canonical tree.

The blocks of a stack lie along the first axis of every array, so each block's gradient
is a row. Rows that are siblings in the tree are added pairwise, many pairs by one call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.execution.numpy_backend import Array, BoundPlan
from dtrain.reduction.tree import PartialSum, Row


class Stack:
    """A bound plan for some blocks of one length, and the gradients that it computes.

    Args:
        bound: the plan; it writes the derivatives to ``slots``.
        slots: shape (blocks, slots of a gradient).
        tail: the length of a gradient's tail.
        length: samples in a block.
        names: the outputs that the tail sums: the loss, then metrics.

    Attributes:
        bound: the plan.
        inputs: the plan's inputs, with the samples of all blocks along the first axis.
        version: the version of the weights with which ``bound.once`` was last run.
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

    def sums(
        self, first: int, destinations: Mapping[int, PartialSum]
    ) -> Iterator[PartialSum]:
        """Sum the blocks' gradients up to the largest subtrees that they make up.

        Args:
            first: the first block's number.
            destinations: the memory for a sum, by the number of its first block. A sum
                without one, and the gradient of a block that is alone in its subtree,
                stay in the stack's memory.
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
        return tree.add(first, destinations)


class _Tree:
    """The additions of a stack whose first block has a given number."""

    def __init__(self, slots: Array, tails: NDArray[np.float64], first: int) -> None:
        self._pairs: list[tuple[Array, Array]] = []
        self._halves: list[tuple[int, Row, Row | None]] = []  # start, left, right
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
            left = Row(slots[start], tails[start], level)
            right = Row(slots[half], tails[half], level) if level else None
            self._halves.append((start, left, right))
            start = stop

    def add(
        self, first: int, destinations: Mapping[int, PartialSum]
    ) -> Iterator[PartialSum]:
        """Add all pairs, the last pair of each subtree into the sum's destination."""
        for left, right in self._pairs:
            np.add(left, right, left)
        for start, one, other in self._halves:
            out = one
            if other is not None:
                target = destinations.get(first + start, one)
                np.add(one.slots, other.slots, target.slots)
                np.add(one.tail, other.tail, target.tail)
                if target is not one:
                    out = Row(target.slots, target.tail, one.level)
            yield out
