"""Kinks: where a function that is made of pieces goes from one to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.engine import Blocks, Engine
from dtrain.functions.base import Kind
from dtrain.functions.block_axis import to_samples
from dtrain.functions.piecewise import real
from dtrain.gradient.vector import Layout, Weights
from dtrain.tracing.builder import Builder
from dtrain.tracing.expand import expand
from dtrain.tracing.graph import FlowGraph


class Kinks:
    """Says which pieces of a graph's functions apply.

    Args:
        graph: any flow graph.
        layout: where each weight lies.
        columns: each input's values.

    Attributes:
        sources: the source line of each function that is made of pieces.
    """

    def __init__(
        self, graph: FlowGraph, layout: Layout, columns: Mapping[str, NDArray[Any]]
    ) -> None:
        watched, self._branches = _inputs(graph)
        self._engine = Engine(watched, layout, columns)
        self.sources = [source for source, _, _ in self._branches]

    def pieces(self, weights: Weights, block: Blocks) -> list[NDArray[Any]]:
        """For each such function which piece applies, for each sample of a block."""
        outputs = self._engine.run(weights, block)
        return [
            np.array(branch(*(outputs[name] for name in names)))
            for _, branch, names in self._branches
        ]


def _inputs(graph: FlowGraph) -> tuple[FlowGraph, list[Any]]:
    """A graph whose outputs are what functions made of pieces choose by.

    Returns it, and for each such function its line, its ``branch`` and the names of the
    outputs that it takes.
    """
    graph = expand(graph)
    builder = Builder(graph.name)
    symbols = builder.include(graph)
    outputs, kinks = {}, []
    for number, node in enumerate(graph.nodes):
        if node.function.branch is None:
            continue
        names = []
        for place, i in enumerate(node.inputs):
            x = symbols[i]
            if node.function.elementwise:
                x = builder.symbol(np.broadcast_to(x, node.shape))
            if x.node.dtype != "real":
                x = builder.symbol(real(x))
            if x.node.kind is not Kind.SAMPLE:
                x = builder.symbol(to_samples(x))
            names.append(f"{number}.{place}")
            outputs[names[-1]] = x
        kinks.append((str(node.source), node.function.branch, names))
    return builder.graph(outputs), kinks
