"""A program's outputs, sample by sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from dtrain.data.columns import Samples
from dtrain.engine.engine import Engine
from dtrain.engine.vectorise import vectorise
from dtrain.functions.base import Kind
from dtrain.functions.block_axis import to_samples
from dtrain.functions.piecewise import real
from dtrain.gradient.vector import Layout
from dtrain.host import numerics
from dtrain.tracing.builder import Builder
from dtrain.tracing.expand import expand
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.trace import Program
from dtrain.training.evaluate import (
    Inputs,
    as_samples,
    as_weights,
    dtype_of,
    traced,
)
from dtrain.training.setup import columns_in
from dtrain.training.shard import RowBlocks, default_block


def predict(
    program: Program, weights: Mapping[str, Any], inputs: Inputs
) -> NDArray[Any] | dict[str, NDArray[Any]]:
    """The program's output for every sample, first axis the sample.

    Args:
        program: the program.
        weights: a value for each weight, by name; their dtype is the result's.
        inputs: as for `loss_and_gradient`.

    Returns:
        An array, or a dict of arrays if the program has several named outputs.

    Example:
        >>> from dtrain import predict, program, weight
        >>> @program
        ... def double(x):
        ...     return weight("W") * x
        >>> predict(double, {"W": 2.0}, [[1.0, 2.0]])
        array([2., 4.])
    """
    numerics.check_pins()
    samples = as_samples(program, inputs, None)
    with threadpool_limits(1):  # more BLAS threads may give other bits
        outputs = Prediction(program, samples, weights).rows(0, len(samples))
    return outputs if len(outputs) > 1 else next(iter(outputs.values()))


class Prediction:
    """A program's outputs, for any range of samples.

    Args:
        program: the program.
        samples: the inputs.
        weights: a value for each weight, by name.

    Attributes:
        graph: the program's graph.
        weights: the weights.
    """

    def __init__(
        self, program: Program, samples: Samples, weights: Mapping[str, Any]
    ) -> None:
        dtype = dtype_of(weights)
        graph = vectorise(expand(traced(program, samples)), filled=False)
        graph = self.graph = with_sample_outputs(graph)
        shapes = {name: spec.shape for name, spec in graph.specs.items()}
        layout = Layout.of(shapes, dtype)
        self.weights = as_weights(layout, weights)
        self._engine = Engine(graph, layout, columns_in(samples, graph, dtype))
        self._samples = samples
        self._block = default_block(graph, len(samples))

    def rows(self, start: int, stop: int) -> dict[str, NDArray[Any]]:
        """Each output's values for the samples [start, stop)."""
        graph, layout = self.graph, self.weights.layout
        found = {
            name: np.empty((stop - start, *graph.nodes[i].shape), layout.dtype)
            for name, i in graph.outputs.items()
        }
        # Blocks lie where they lie for one rank, whatever range is asked for, so a
        # sample's output has the same bits in each.
        first = start // self._block * self._block
        for low in range(first, stop, self._block):
            high = min(low + self._block, len(self._samples))
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
    """The same graph, with each output there for every sample, as a real number."""
    builder = Builder(graph.name)
    symbols = builder.include(graph)
    outputs = {}
    for name, number in graph.outputs.items():
        x = symbols[number]
        if x.node.dtype != "real":
            x = builder.symbol(real(x))
        if x.node.kind is not Kind.SAMPLE:
            x = builder.symbol(to_samples(x))
        outputs[name] = x
    return builder.graph(outputs)
