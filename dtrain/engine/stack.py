"""A stack: several blocks run by one call, and added as the canonical tree adds them.

The blocks of a stack lie along the first axis of every array. Their vectors are rows,
and rows that are siblings in the tree are added pairwise, many pairs by one call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.numpy_backend import Array, BoundPlan
from dtrain.gradient.vector import GradientVector, Layout


class Stack:
    """A bound plan for some blocks of one length, and the GradientVectors it fills.

    Args:
        layout: of the vectors.
        bound: the plan; it writes the derivatives to ``slots``.
        slots: shape (blocks, layout.size).
        length: samples in a block.
        names: the outputs that the tail sums: the loss, then metrics.

    Attributes:
        bound: the plan.
        inputs: the plan's inputs, the samples of all blocks along the first axis.
        version: that of the weights for which the steps on weights alone have run.
    """

    def __init__(
        self,
        layout: Layout,
        bound: BoundPlan,
        slots: Array,
        length: int,
        names: Sequence[str],
    ) -> None:
        self.bound = bound
        self.inputs = {
            name: array.reshape(len(slots) * length, *array.shape[2:])
            for name, array in bound.inputs.items()
        }
        self.version = -1
        self._layout = layout
        self._slots = slots
        self._tails = np.zeros((len(slots), layout.tail))
        self._length = length
        self._summed = [bound.outputs[name] for name in names if name in bound.outputs]
        self._trees: dict[int, _Tree] = {}

    def sums(self, first: int) -> Iterator[GradientVector]:
        """The blocks' vectors, added to those of the largest subtrees they make up.

        Args:
            first: the first block's number.
        """
        loss, *metrics = self._summed
        self._tails[:, 0] = loss
        self._tails[:, 1] = self._length
        for i, metric in enumerate(metrics, start=2):
            self._tails[:, i] = metric
        # Which rows are siblings depends on the first number up to this power of 2.
        first %= 1 << len(self._slots).bit_length()
        tree = self._trees.get(first)
        if tree is None:
            tree = _Tree(self._layout, self._slots, self._tails, first)
            self._trees[first] = tree
        return tree.add()


class _Tree:
    """The additions of a stack that begins at a certain block."""

    def __init__(
        self, layout: Layout, slots: Array, tails: NDArray[np.float64], first: int
    ) -> None:
        self._vectors: list[GradientVector] = []
        self._pairs: list[tuple[Array, Array]] = []
        start = 0
        while start < len(slots):
            level = 0
            while (first + start) % (2 << level) == 0 and start + (2 << level) <= len(
                slots
            ):
                level += 1
            stop = start + (1 << level)
            self._vectors.append(
                GradientVector(layout, slots[start], tails[start], level)
            )
            for step in (1 << i for i in range(level)):
                for rows in (slots[start:stop], tails[start:stop]):
                    self._pairs.append((rows[:: 2 * step], rows[step :: 2 * step]))
            start = stop

    def add(self) -> Iterator[GradientVector]:
        """Add all pairs; give the sums."""
        with np.errstate(all="ignore"):  # whether a sum is finite is tested at its end
            for left, right in self._pairs:
                np.add(left, right, left)
        return iter(self._vectors)
