"""Sums that reveal the order of their additions, and a slow reference sum."""

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
    """A partial sum, and a total, in its own memory."""

    slots: NDArray[Any]
    tail: NDArray[np.float64]
    level: int = 0

    def receive(self, slots: NDArray[Any]) -> None:
        """Copy a sum from shared memory."""
        if slots is not self.slots:
            np.copyto(self.slots, slots)


@dataclass(frozen=True)
class Case:
    """``count`` blocks whose numbers depend only on the block's index."""

    count: int
    length: int = 16
    dtype: str = "float64"

    def buffer(self) -> Buffer:
        """Return a partial sum of meaningless numbers, like uninitialised memory."""
        return Buffer(np.full(self.length, 7, self.dtype), np.full(3, 7.0))

    def fill(self, record: Any, number: int) -> Any:
        """Write a block's numbers, of different magnitudes so that order matters."""
        draw = np.random.default_rng([self.count, self.length, number])
        size = self.length + 3
        numbers = draw.standard_normal(size) * 10.0 ** draw.integers(-6, 7, size)
        numbers[draw.random(size) < 0.2] = -0.0
        record.slots[:] = numbers[:-3]
        record.tail[:] = numbers[-3:]
        return record

    def partials(self, rank: int, size: int) -> Iterator[Buffer]:
        """Yield the partial sums of a rank's blocks, all in the same buffer."""
        record = self.buffer()
        for number in share(self.count, rank, size):
            yield self.fill(record, number)
            record.slots[:] = 99  # a late reader would add these
            record.tail[:] = 99

    def subtree(self, level: int, index: int) -> Buffer | None:
        """Sum by definition: the left child plus the right child, if there is one."""
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
        """Sum all blocks by definition; zeros if there are none."""
        zero = Buffer(np.zeros(self.length, self.dtype), np.zeros(3))
        return self.subtree(self.count.bit_length(), 0) or zero

    def sum(self, world: World) -> Buffer:
        """Sum by ``World.tree_sum``, and check the flag words."""
        total = self.buffer()
        partials = self.partials(world.rank, world.size)
        flags = world.tree_sum(self.count, partials, total, flags=1 << world.rank)
        assert flags == (1 << world.size) - 1
        return total

    def sum_in_place(self, world: World) -> Buffer:
        """Compute partial sums in the memory of the sum, and scale the sum by 2."""
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
        """Return whether any bit differs from the reference."""
        right = self.reference()
        return (
            total.slots.tobytes() != right.slots.tobytes()
            or total.tail.tobytes() != right.tail.tobytes()
        )


def deliver(world: World, root: int) -> NDArray[Any] | None:
    """Send different arrays and bytes from each rank, and check what arrives."""
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
