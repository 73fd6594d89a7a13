"""Blocks of ragged samples: sorted by length within a batch, padded block by block.

The samples of a batch are sorted by their lengths, cut into blocks, and each block is
padded to the size of its longest sample. All of it follows from the batch alone, so the
blocks are the same on any number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.order import Batch
from dtrain.engine.engine import Engine
from dtrain.gradient.vector import Weights
from dtrain.problem.padding import Sizes, padded
from dtrain.problem.shard import RowBlocks, Shard, default_block
from dtrain.reduction.blocks import share
from dtrain.reduction.tree import PartialSum
from dtrain.tracing.graph import FlowGraph
from dtrain.worlds.world import World

HANDS = 8
"""Blocks are dealt like cards to so many hands, so that ranks get like work."""
_LARGEST = 32  # samples in a block by default: a longer one needs more padding
_ANY = 1 << 30  # blocks in a stack: as many as the engine of a size likes


@dataclass(frozen=True)
class Arrangement:
    """The blocks of a batch.

    Attributes:
        rows: the data rows, block after block.
        sizes: the sizes that each block is padded to.
    """

    rows: NDArray[np.intp]
    sizes: list[Sizes]


def arranged(
    rows: NDArray[np.intp], lengths: Sequence[NDArray[np.intp]], block: int
) -> Arrangement:
    """Sort the rows of a batch by length, cut them into blocks and deal these.

    Equal lengths keep their order. Every second hand is reversed: so blocks of equal
    sizes are neighbours where two hands meet. A short block comes last.

    Args:
        rows: of the batch.
        lengths: for each group of ragged columns, the length of each data row.
        block: samples in a block.
    """
    own = [each[rows] for each in lengths]
    rows = rows[np.lexsort(own[::-1])]
    whole = len(rows) // block
    hands = [np.arange(hand, whole, HANDS) for hand in range(min(HANDS, whole))]
    dealt = [hand[::-1] if i % 2 else hand for i, hand in enumerate(hands)]
    order = np.concatenate([np.empty(0, np.intp), *dealt])
    main = rows[: whole * block].reshape(whole, block)[order].reshape(-1)
    rows = np.concatenate([main, rows[whole * block :]])
    starts = np.arange(0, len(rows), block)
    sizes = [padded(np.maximum.reduceat(each[rows], starts)) for each in lengths]
    return Arrangement(rows, list(zip(*(s.tolist() for s in sizes), strict=True)))


def padded_block(graph: FlowGraph, batch: int) -> int:
    """Return how many ragged samples a block holds unless ``block`` says so."""
    return min(default_block(graph, batch), _LARGEST)


class PaddedEngine:
    """Engines for the sizes that blocks are padded to, made when a size first occurs.

    Args:
        make: makes the engine for some sizes.
        names: for each group of ragged columns, the column that holds its lengths.
        columns: each input's values.

    Attributes:
        columns: the columns that the next call reads.
    """

    def __init__(
        self,
        make: Callable[[Sizes], Engine],
        names: Sequence[str],
        columns: Mapping[str, Any],
    ) -> None:
        self._make, self._names = make, names
        self._engines: dict[Sizes, Engine] = {}
        self._kept: tuple[Any, Arrangement] | None = None
        self.columns = columns

    def at(self, sizes: Sizes) -> Engine:
        """Return the engine for some sizes."""
        engine = self._engines.get(sizes)
        if engine is None:
            engine = self._engines[sizes] = self._make(sizes)
        engine.columns = self.columns
        return engine

    def close(self) -> None:
        """End the threads that run steps in parallel."""
        for engine in self._engines.values():
            engine.close()

    def rebind(self, columns: Mapping[str, Any]) -> None:
        """Read other columns, of the same shapes but for lengths, from now on."""
        self.columns, self._kept = columns, None

    def release(self) -> None:
        """Drop all references to the columns; `rebind` before the next call."""
        self.columns, self._kept = {}, None
        for engine in self._engines.values():
            engine.release()

    def gradients(
        self,
        weights: Weights,
        parts: Iterable[RowBlocks],
        destinations: Mapping[int, PartialSum] | None = None,
    ) -> Iterator[PartialSum]:
        """Yield the gradients of blocks, as `Engine.gradients` does."""
        for blocks in parts:
            engine = self.at(blocks.sizes)
            yield from engine.gradients(weights, (blocks,), destinations or {})

    def run(self, weights: Weights, blocks: RowBlocks) -> Mapping[str, NDArray[Any]]:
        """Evaluate blocks, as `Engine.run` does."""
        return self.at(blocks.sizes).run(weights, blocks)

    def arranged(self, batch: Batch, block: int) -> Arrangement:
        """Return the blocks of a batch; those of the latest are kept."""
        rows = batch.rows
        if isinstance(rows, slice):
            key: Any = (rows.start, rows.stop, block)
        else:
            key = (id(rows), block)
        if self._kept is None or self._kept[0] != key:
            lengths = [self.columns[name] for name in self._names]
            found = rows if isinstance(rows, np.ndarray) else _listed(rows)
            self._kept = key, arranged(found, lengths, block)
            self._batch = rows  # so that no other array gets its id
        return self._kept[1]


def _listed(rows: slice) -> NDArray[np.intp]:
    return np.arange(rows.start, rows.stop)


@dataclass(frozen=True)
class PaddedShard(Shard):
    """What one rank of a world computes of each batch of ragged samples.

    Attributes:
        engine: knows the lengths of the samples.
    """

    engine: PaddedEngine = field(kw_only=True)

    @classmethod
    def of_padded(cls, world: World, engine: PaddedEngine, block: int) -> PaddedShard:
        """Return the shard of a world's rank, for an engine."""
        return cls(world.rank, world.size, block, _ANY, engine=engine)

    def blocks(self, batch: Batch) -> Iterator[RowBlocks]:
        """This rank's blocks of a batch, in ascending order; there may be none.

        A stack has neighbours of equal sizes. Their number is a power of 2 and divides
        the first one's number, so that there are few plans and each is a subtree.
        """
        made = self.engine.arranged(batch, self.block)
        own = share(self.count(batch), self.rank, self.size)
        whole = min(own.stop, batch.samples // self.block)
        number = own.start
        while number < own.stop:
            sizes, count = made.sizes[number], 1
            start = number * self.block
            length = min(self.block, batch.samples - start)
            most = self.engine.at(sizes).most_blocks(length)
            while (
                2 * count <= min(most, self.stack)
                and number % (2 * count) == 0
                and number + 2 * count <= whole
                and set(made.sizes[number : number + 2 * count]) == {sizes}
            ):
                count *= 2
            rows = made.rows[start : start + count * length]
            yield RowBlocks(number, count, length, rows, sizes)
            number += count
