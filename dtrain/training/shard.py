"""A rank's part of a batch, as blocks of data rows; and how long a block is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dtrain.data.order import Batch
from dtrain.engine.engine import Rows
from dtrain.functions.contraction import contract
from dtrain.parallel.blocks import Blocks
from dtrain.parallel.world import World
from dtrain.program.graph import WEIGHT, FlowGraph


@dataclass(frozen=True)
class RowBlock:
    """One block of a batch: the data rows it holds."""

    number: int
    rows: Rows
    length: int


@dataclass(frozen=True)
class Shard:
    """What one rank of a world computes of each batch.

    Attributes:
        rank: the rank.
        size: how many ranks there are.
        block: samples in a block.
    """

    rank: int
    size: int
    block: int

    @classmethod
    def of(cls, world: World, block: int) -> Shard:
        """The shard of a world's rank."""
        return cls(world.rank, world.size, block)

    def count(self, batch: Batch) -> int:
        """How many blocks all ranks together compute of a batch."""
        return Blocks(batch.samples, self.block).count

    def blocks(self, batch: Batch) -> Iterator[RowBlock]:
        """This rank's blocks of a batch, in ascending order; there may be none."""
        for block in Blocks(batch.samples, self.block).owned(self.rank, self.size):
            rows = batch.take(block.start, block.stop)
            yield RowBlock(block.number, rows, block.stop - block.start)


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
