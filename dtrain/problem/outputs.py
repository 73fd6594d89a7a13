"""A graph's outputs, one row for each sample."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.columns import Samples
from dtrain.engine.vectorise.vectorise import vectorise
from dtrain.functions.base import Kind
from dtrain.functions.block_axis import to_samples
from dtrain.functions.piecewise import real
from dtrain.gradient.layout import Layout
from dtrain.problem.columns import columns_of
from dtrain.problem.evaluator import PLAIN, reading
from dtrain.problem.samples import as_weights, dtype_of, named_weights
from dtrain.problem.shard import RowBlocks, default_block
from dtrain.tracing.builder import Builder
from dtrain.tracing.expand import expand
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.noise import quiet
from dtrain.tracing.symbol import Symbol
from dtrain.tracing.trace import Program


class Outputs:
    """A program's outputs for any range of samples.

    Args:
        program: the program.
        samples: the inputs.
        weights: values by name; their dtype is that of the outputs.

    Attributes:
        traced: the program's graph, as it was traced.
        graph: the same, with each output as a real number of every sample.
        weights: the weights.
    """

    def __init__(
        self, program: Program, samples: Samples, weights: Mapping[str, Any]
    ) -> None:
        weights = named_weights(weights)
        dtype = dtype_of(weights)
        shapes = {name: array.shape[1:] for name, array in samples.inputs.items()}
        self.traced = program.trace(**shapes)
        vectorised = vectorise(expand(quiet(self.traced)), filled=False)
        self.graph = with_sample_outputs(vectorised)
        specs = self.graph.specs.items()
        layout = Layout.of({name: spec.shape for name, spec in specs}, dtype)
        self.weights = as_weights(layout, weights)
        self.block = default_block(self.graph, len(samples))
        self._samples = len(samples)
        columns = columns_of(samples, self.graph, dtype)
        self._engine = PLAIN.engine(self.graph, layout, columns)

    def reading(self, samples: Samples) -> AbstractContextManager[None]:
        """Read other samples of the same shapes and number, and forget them after."""
        dtype = self.weights.layout.dtype.name
        return reading(self._engine, columns_of(samples, self.graph, dtype))

    def rows(self, start: int, stop: int) -> dict[str, NDArray[Any]]:
        """Return each output's values for the samples [start, stop).

        Blocks begin at the same rows whatever range is asked for, so a sample's output
        has the same bits in every range.
        """
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
        return found


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
