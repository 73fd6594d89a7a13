"""Kinks: where a function made of pieces changes from one piece to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.engine import Blocks, Column
from dtrain.gradient.vector import Layout, Weights
from dtrain.problem.evaluator import PLAIN
from dtrain.problem.outputs import of_samples
from dtrain.tracing.builder import Builder
from dtrain.tracing.expand import expand
from dtrain.tracing.graph import FlowGraph


class Kinks:
    """Tell which piece of each such function applies, sample by sample.

    Args:
        graph: any flow graph.
        layout: where each weight lies.
        columns: each input's values.

    Attributes:
        sources: the source line of each function that is made of pieces.
    """

    def __init__(
        self, graph: FlowGraph, layout: Layout, columns: Mapping[str, Column]
    ) -> None:
        watched, self._branches = _watched(graph)
        self._engine = PLAIN.engine(watched, layout, columns)
        self.sources = [source for source, _, _ in self._branches]

    def pieces(self, weights: Weights, block: Blocks) -> list[NDArray[Any]]:
        """Return for each such function which piece applies, by sample of a block."""
        outputs = self._engine.run(weights, block)
        return [
            np.array(branch(*(outputs[name] for name in names)))
            for _, branch, names in self._branches
        ]


def _watched(graph: FlowGraph) -> tuple[FlowGraph, list[Any]]:
    """Return a graph whose outputs are the inputs by which functions choose a piece.

    Also return, for each such function, its line, its ``branch`` and the names of the
    outputs that ``branch`` takes.
    """
    graph = expand(graph)
    builder = Builder(graph.name)
    symbols = builder.include(graph)
    outputs, kinks = {}, []
    for number, node in enumerate(graph.nodes):
        if node.function.branch is None:
            continue
        names = []
        for position, i in enumerate(node.inputs):
            x = symbols[i]
            if node.function.elementwise:
                x = builder.symbol(np.broadcast_to(x, node.shape))
            names.append(f"{number}.{position}")
            outputs[names[-1]] = of_samples(builder, x)
        kinks.append((str(node.source), node.function.branch, names))
    return builder.graph(outputs), kinks
