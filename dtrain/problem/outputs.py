"""A graph's outputs, one row for each sample."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.columns import Samples
from dtrain.data.order import Batch
from dtrain.data.ragged import Ragged
from dtrain.engine.engine import Engine
from dtrain.engine.vectorise.vectorise import vectorise
from dtrain.errors import ProgramError
from dtrain.functions.base import Kind
from dtrain.functions.block_axis import to_samples
from dtrain.functions.piecewise import real
from dtrain.gradient.vector import Layout
from dtrain.problem.columns import columns_of
from dtrain.problem.evaluator import PLAIN, reading
from dtrain.problem.padded import PaddedEngine, PaddedShard, padded_block
from dtrain.problem.padding import Padding, Sizes, check_same_weights
from dtrain.problem.samples import as_weights, dtype_of, named_weights
from dtrain.problem.shard import RowBlocks, default_block
from dtrain.tracing.builder import Builder
from dtrain.tracing.expand import expand
from dtrain.tracing.fingerprint import fingerprint
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.symbol import Symbol
from dtrain.tracing.trace import Program


class Outputs:
    """A program's outputs for any range of samples.

    Args:
        program: the program.
        samples: the inputs.
        weights: values by name; their dtype is that of the outputs.

    Attributes:
        traced: the program's graph, as it was traced; with ragged inputs, for the
            standard lengths.
        graph: the same, with each output as a real number of every sample.
        weights: the weights.
        rows_of: for each output with a row for each row of ragged inputs, the input
            with the number of these rows.

    Raises:
        ProgramError: an output depends on the length of padding in another way.
    """

    def __init__(
        self, program: Program, samples: Samples, weights: Mapping[str, Any]
    ) -> None:
        weights = named_weights(weights)
        self._dtype = dtype_of(weights)
        self._program, self.padding = program, Padding.of(samples)
        standard = self.padding.standard
        self.traced = self._trace(standard)
        self.rows_of = self._ragged_outputs()
        self.graph = _for_samples(self.traced)
        specs = self.graph.specs.items()
        layout = Layout.of({name: spec.shape for name, spec in specs}, self._dtype)
        self.weights = as_weights(layout, weights)
        default = padded_block if self.padding else default_block
        self.block = default(self.graph, len(samples))
        self._samples = len(samples)
        columns = columns_of(samples, self.graph, self._dtype)
        self._engine: Engine | PaddedEngine = PLAIN.engine(self.graph, layout, columns)
        if self.padding:
            self._engine = PaddedEngine(self._make, self.padding.names, columns)

    def _trace(self, sizes: Sizes) -> FlowGraph:
        return self._program.trace(**self.padding.shapes(sizes))

    @property
    def stable(self) -> bool:
        """Whether tracing the program again gives the same graph."""
        again = self._trace(self.padding.standard)
        return fingerprint(again) == fingerprint(self.traced)

    def _make(self, sizes: Sizes) -> Engine:
        """Return the engine for the lengths that columns are padded to."""
        graph = _for_samples(self._trace(sizes))
        return PLAIN.engine(graph, self.weights.layout, {})

    def _ragged_outputs(self) -> dict[str, str]:
        """Return which outputs have rows of padding, by tracing with other lengths."""
        found: dict[str, str] = {}
        standard = self.padding.standard
        for group, name in enumerate(self.padding.names):
            sizes = tuple(n + (i == group) for i, n in enumerate(standard))
            other = self._trace(sizes)
            check_same_weights(self.traced, other, self.padding)
            for key, number in self.traced.outputs.items():
                ours = self.traced.nodes[number].shape
                theirs = other.nodes[other.outputs[key]].shape
                if ours == theirs:
                    continue
                if key in found or (ours[:1], theirs) != (
                    (standard[group],),
                    (sizes[group], *ours[1:]),
                ):
                    raise ProgramError(
                        f"{self.traced.nodes[number].source}: output {key!r} has "
                        f"shape {ours} for ragged inputs that are padded to "
                        f"{standard[group]} rows, but {theirs} for "
                        f"{sizes[group]}: an output may have one row for each row of a "
                        "ragged input, as its first axis; reduce the other axes"
                    )
                found[key] = name
        return found

    def reading(self, samples: Samples) -> AbstractContextManager[None]:
        """Read other samples of the same shapes and number, and forget them after."""
        return reading(self._engine, columns_of(samples, self.graph, self._dtype))

    def rows(self, start: int, stop: int) -> dict[str, NDArray[Any] | Ragged]:
        """Return each output's values for the samples [start, stop).

        Blocks begin at the same rows whatever range is asked for, so a sample's output
        has the same bits in every range.
        """
        if isinstance(self._engine, PaddedEngine):
            return self._padded_rows(self._engine, start, stop)
        dtype, block = self.weights.layout.dtype, self.block
        found = {
            name: np.empty((stop - start, *self.graph.nodes[i].shape), dtype)
            for name, i in self.graph.outputs.items()
        }
        for low in range(start // block * block, stop, block):
            high = min(low + block, self._samples)
            outputs = self._engine.run(
                self.weights, RowBlocks(0, 1, high - low, slice(low, high))
            )
            begin, end = max(low, start), min(high, stop)
            for name, values in found.items():
                values[begin - start : end - start] = outputs[name][0][
                    begin - low : end - low
                ]
        return {**found}

    def _padded_rows(
        self, engine: PaddedEngine, start: int, stop: int
    ) -> dict[str, NDArray[Any] | Ragged]:
        """Return the same for ragged samples: sorted by length in windows of rows."""
        dtype, window = self.weights.layout.dtype, _WINDOW * self.block
        found: dict[str, NDArray[Any] | Ragged] = {}
        for name, i in self.graph.outputs.items():
            shape = self.graph.nodes[i].shape
            if name in self.rows_of:
                lengths = engine.columns[self.rows_of[name]][start:stop]
                rows = np.empty((lengths.sum(), *shape[1:]), dtype)
                found[name] = Ragged(rows, lengths)
            else:
                found[name] = np.empty((stop - start, *shape), dtype)
        for low in range(start // window * window, stop, window):
            high = min(low + window, self._samples)
            batch = Batch(0, slice(low, high), high - low)
            # One of one rank: the blocks of a window are the same on all ranks.
            for blocks in PaddedShard(0, 1, self.block, engine=engine).blocks(batch):
                outputs = engine.run(self.weights, blocks)
                rows = np.asarray(blocks.rows)
                places = np.flatnonzero((rows >= start) & (rows < stop))
                for name, values in found.items():
                    value = outputs[name][0]
                    if isinstance(values, np.ndarray):
                        values[rows[places] - start] = value[places]
                        continue
                    for place in places.tolist():
                        own = values[int(rows[place]) - start]
                        own[...] = value[place][: len(own)]
        return found


_WINDOW = 16  # blocks whose samples are sorted by length together


def _for_samples(traced: FlowGraph) -> FlowGraph:
    return with_sample_outputs(vectorise(expand(traced), filled=False))


def with_sample_outputs(graph: FlowGraph) -> FlowGraph:
    """Return the graph with each output as a real number of every sample."""
    builder = Builder(graph.name)
    symbols = builder.include(graph)
    outputs = {
        name: of_samples(builder, symbols[number])
        for name, number in graph.outputs.items()
    }
    return builder.graph(outputs)


def of_samples(builder: Builder, x: Symbol) -> Symbol:
    """Return a value as a real number of every sample, even if all have the same."""
    if x.node.dtype != "real":
        x = builder.symbol(real(x))
    if x.node.kind is not Kind.SAMPLE:
        x = builder.symbol(to_samples(x))
    return x
