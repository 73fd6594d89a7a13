"""A rank's part of a batch, as blocks of data rows; and how long a block is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dtrain.data.order import Batch
from dtrain.engine.engine import Engine, Rows
from dtrain.functions.contraction import contract
from dtrain.parallel.blocks import Blocks, share
from dtrain.parallel.world import World
from dtrain.program.graph import WEIGHT, FlowGraph


@dataclass(frozen=True)
class RowBlocks:
    """Consecutive blocks of a batch, a subtree of the canonical tree.

    Attributes:
        number: the first block's number.
        level: there are 2ˡᵉᵛᵉˡ blocks.
        rows: the data rows of all of them.
        length: the rows of each.
    """

    number: int
    level: int
    rows: Rows
    length: int


@dataclass(frozen=True)
class Shard:
    """What one rank of a world computes of each batch.

    Attributes:
        rank: the rank.
        size: how many ranks there are.
        block: samples in a block.
        level: so many blocks, as a power of 2, are run at once where they can be.
    """

    rank: int
    size: int
    block: int
    level: int = 0

    @classmethod
    def of(cls, world: World, engine: Engine, block: int) -> Shard:
        """The shard of a world's rank, for an engine."""
        return cls(world.rank, world.size, block, engine.stack_level(block))

    def count(self, batch: Batch) -> int:
        """How many blocks all ranks together compute of a batch."""
        return Blocks(batch.samples, self.block).count

    def blocks(self, batch: Batch) -> Iterator[RowBlocks]:
        """This rank's blocks of a batch, in ascending order; there may be none."""
        own = share(self.count(batch), self.rank, self.size)
        whole = min(own.stop, batch.samples // self.block)  # blocks that are not short
        number = own.start
        while number < own.stop:
            level = self.level
            while level and (number % (1 << level) or number + (1 << level) > whole):
                level -= 1
            start = number * self.block
            end = min((number + (1 << level)) * self.block, batch.samples)
            length = min(self.block, end - start)
            yield RowBlocks(number, level, batch.take(start, end), length)
            number += 1 << level


def default_block(graph: FlowGraph, batch: int) -> int:
    """How many samples a block holds unless ``block`` says so.

    It depends on the program and the nominal batch size alone, never on the machine or
    the rank count, because it fixes the order of sums. A sixteenth of the batch, in
    eights, but not so little that reading the weight matrices outweighs their use, and
    not so much that a block leaves the cache.
    """
    entries = _matrix_entries(graph)
    least = next(
        (
            floor
            for floor, limit in ((16, 1), (32, 1 << 11), (64, 1 << 15))
            if entries < limit
        ),
        128,
    )
    most = 512 if entries else 8192
    return max(1, min(batch, max(least, min(most, 8 * (batch // 128)))))


def _matrix_entries(graph: FlowGraph) -> int:
    """The entries of the weight matrices that contractions read."""
    used = {
        i
        for node in graph.nodes
        if node.function is contract
        for i in node.inputs
        if graph.nodes[i].function is WEIGHT and len(graph.nodes[i].shape) > 1
    }
    total = 0
    for i in used:
        size = 1
        for n in graph.nodes[i].shape:
            size *= n
        total += size
    return total
