"""A rank's part of a batch, as blocks of data rows; and how long a block is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from dtrain.data.order import Batch
from dtrain.engine.engine import Engine, Rows
from dtrain.functions import shape
from dtrain.functions.contraction import contract
from dtrain.reduction.blocks import block_count, share
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import SCALARS, WEIGHT
from dtrain.worlds.world import World

_VIEWS = (shape.transpose, shape.reshape, shape.index, shape.broadcast, shape.place)


@dataclass(frozen=True)
class RowBlocks:
    """Consecutive blocks of a batch.

    Attributes:
        number: the first block's number.
        count: how many there are.
        length: the rows of each.
        rows: the data rows of all of them.
        sizes: the lengths that their ragged columns are padded to.
    """

    number: int
    count: int
    length: int
    rows: Rows
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Shard:
    """What one rank of a world computes of each batch.

    Attributes:
        rank: the rank.
        size: how many ranks there are.
        block: samples in a block.
        stack: so many blocks at most are run at once; it changes no bits.
    """

    rank: int
    size: int
    block: int
    stack: int = 1

    @classmethod
    def of(cls, world: World, engine: Engine, block: int) -> Shard:
        """Return the shard of a world's rank, for an engine."""
        return cls(world.rank, world.size, block, engine.most_blocks(block))

    def count(self, batch: Batch) -> int:
        """How many blocks all ranks together compute of a batch."""
        return block_count(batch.samples, self.block)

    def blocks(self, batch: Batch) -> Iterator[RowBlocks]:
        """This rank's blocks of a batch, in ascending order; there may be none."""
        own = share(self.count(batch), self.rank, self.size)
        whole = min(own.stop, batch.samples // self.block)  # blocks that are not short
        number = own.start
        while number < own.stop:
            next_stack = (number // self.stack + 1) * self.stack
            stop = min(next_stack, whole) if number < whole else own.stop
            start, end = number * self.block, min(stop * self.block, batch.samples)
            length = min(self.block, end - start)
            yield RowBlocks(number, stop - number, length, batch.take(start, end))
            number = stop


def default_block(graph: FlowGraph, batch: int) -> int:
    """How many samples a block holds unless ``block`` says so.

    It depends on the program and the nominal batch size alone, never on the machine or
    the rank count, because it fixes the order of sums. A sixteenth of the batch, in
    eights, but not so little that reading the weight matrices outweighs their use, and
    not so much that a block leaves the cache; a little less where that divides the
    batch, since a short last block is a call of its own (docs/performance.md).
    """
    entries = _matrix_entries(graph)
    limits = ((16, 1), (32, 1 << 11), (64, 1 << 15))
    least = next((floor for floor, limit in limits if entries < limit), 128)
    most = 512 if entries else 8192
    block = min(batch, max(least, min(most, 8 * (batch // 128))))
    near = range(block, 3 * block // 4, -1)
    return next((size for size in near if batch % size == 0), max(block, 1))


def _matrix_entries(graph: FlowGraph) -> int:
    """The entries of the weight matrices that contractions read, perhaps as views.

    Scalar weights count where they make up a matrix.
    """
    nodes = graph.nodes
    read = [
        (operand, operand)
        for node in nodes
        if node.function is contract
        for operand in node.inputs
    ]
    matrices: set[int] = set()
    seen = set(read)
    while read:
        number, operand = read.pop()
        node = nodes[number]
        if node.function in _VIEWS:
            more = {(i, operand) for i in node.inputs} - seen
            read += more
            seen |= more
        elif node.function is WEIGHT and len(node.shape) > 1:
            matrices.add(number)
        elif node.function is SCALARS and len(nodes[operand].shape) > 1:
            matrices.add(operand)
    return sum(math.prod(nodes[i].shape) for i in matrices)
