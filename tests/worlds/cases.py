"""Sums that show the order of their additions, and the slow definition of the sum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.reduction.blocks import share
from dtrain.worlds.world import World


@dataclass
class Buffer:
    """A Record in its own memory."""

    slots: NDArray[Any]
    tail: NDArray[np.float64]
    level: int = 0

    def receive(self, slots: NDArray[Any]) -> None:
        """Keep a sum that is made elsewhere."""
        if slots is not self.slots:
            np.copyto(self.slots, slots)


@dataclass(frozen=True)
class Case:
    """``count`` blocks whose records are drawn from their number alone."""

    count: int
    length: int = 16
    dtype: str = "float64"

    def buffer(self) -> Buffer:
        """Make a record full of nonsense, as unused memory is."""
        return Buffer(np.full(self.length, 7, self.dtype), np.full(3, 7.0))

    def fill(self, record: Any, number: int) -> Any:
        """Write a block's numbers: of very different sizes, so that order shows."""
        draw = np.random.default_rng([self.count, self.length, number])
        size = self.length + 3
        numbers = draw.standard_normal(size) * 10.0 ** draw.integers(-6, 7, size)
        numbers[draw.random(size) < 0.2] = -0.0
        record.slots[:] = numbers[:-3]
        record.tail[:] = numbers[-3:]
        return record

    def partials(self, rank: int, size: int) -> Iterator[Buffer]:
        """Give the records of a rank's blocks, all in one reused buffer."""
        record = self.buffer()
        for number in share(self.count, rank, size):
            yield self.fill(record, number)
            record.slots[:] = 99  # what a late reader would see
            record.tail[:] = 99

    def subtree(self, level: int, index: int) -> Buffer | None:
        """Sum by the definition: left child plus right child, if there is one."""
        if index << level >= self.count:
            return None
        if level == 0:
            return self.fill(self.buffer(), index)
        left = self.subtree(level - 1, 2 * index)
        right = self.subtree(level - 1, 2 * index + 1)
        if left and right:
            left.slots[:] = left.slots + right.slots
            left.tail[:] = left.tail + right.tail
        return left

    def reference(self) -> Buffer:
        """Sum all blocks by the definition; zeros if there are none."""
        zero = Buffer(np.zeros(self.length, self.dtype), np.zeros(3))
        return self.subtree(self.count.bit_length(), 0) or zero

    def sum(self, world: World) -> Buffer:
        """Sum by the world's ``tree_sum``, and check the flag words."""
        total = self.buffer()
        partials = self.partials(world.rank, world.size)
        flags = world.tree_sum(self.count, partials, total, flags=1 << world.rank)
        assert flags == (1 << world.size) - 1
        return total

    def sum_in_place(self, world: World) -> Buffer:
        """Sum partials made where they are summed, and double the sum on its way."""
        total, other = self.buffer(), self.buffer()
        rows = world.rows(self.count, total)

        def partials() -> Iterator[Any]:
            for number in share(self.count, world.rank, world.size):
                yield self.fill(rows.get(number, other), number)

        def scale(slots: NDArray[Any], tail: NDArray[np.float64]) -> None:
            assert self.count == 0 or tail.tobytes() == self.reference().tail.tobytes()
            np.multiply(slots, 2, out=slots)

        world.tree_sum(self.count, partials(), total, scale=scale)
        total.slots /= 2
        return total

    def differs(self, total: Buffer) -> bool:
        """Tell whether any bit is not the reference's."""
        right = self.reference()
        return (
            total.slots.tobytes() != right.slots.tobytes()
            or total.tail.tobytes() != right.tail.tobytes()
        )


def deliver(world: World, root: int) -> NDArray[Any] | None:
    """Send different things from each rank, and check what arrives."""
    size = world.size
    array = np.full((2, 3), float(world.rank))
    world.broadcast(array, root=root)
    assert (array == root).all()
    texts = world.allgather(b"text" * world.rank)
    assert texts == [b"text" * rank for rank in range(size)]
    whole = world.gather_rows(np.full((world.rank, 2), world.rank))
    if world.rank:
        assert whole is None
    else:
        assert whole is not None
        ranks = np.repeat(np.arange(size), np.arange(size))
        assert (whole == np.stack([ranks, ranks], axis=1)).all()
    return whole
