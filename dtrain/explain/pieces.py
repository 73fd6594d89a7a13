"""The value and the transfer functions of one node, as small separate graphs.

They can be evaluated, written in the lecture's notation, or translated to JavaScript.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dtrain.drawing.notation import Parts, Reference, expression
from dtrain.gradient.differentiate import unbroadcast
from dtrain.tracing.builder import Builder
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.symbol import Symbol


@dataclass(frozen=True)
class Piece:
    """A small graph with one output.

    Attributes:
        graph: the graph.
        leaves: the value or adjoint that each input denotes, by the input's name.
    """

    graph: FlowGraph
    leaves: Mapping[str, Reference]

    @property
    def parts(self) -> Parts:
        """The expression, ``v_E · (1 − E²)``; if it is too long, ``Jᵀ`` and v."""
        references = {
            self.graph.inputs[key]: reference for key, reference in self.leaves.items()
        }
        adjoints = (leaf for leaf in self.leaves.values() if leaf.kind == "v")
        written = expression(self.graph, self.graph.output, references)
        return written or ("Jᵀ ", *adjoints)


def value(graph: FlowGraph, number: int) -> Piece:
    """Return a node's value as a function of its inputs."""
    node, builder = graph.nodes[number], Builder(graph.name)
    xs = _inputs(builder, graph, number)
    symbol = builder.emit(node.function, [xs[i] for i in node.inputs], node.keywords)
    return _piece(builder, symbol)


def transfers(graph: FlowGraph, number: int) -> dict[int, Piece]:
    """Return the adjoint that a node passes back to each input, by the input's index.

    It depends on the node's adjoint v, its value and the values of its inputs.
    Constants receive none.
    """
    node = graph.nodes[number]
    if node.function.vjp is None or not node.inputs:
        return {}
    builder = Builder(graph.name)
    xs = _inputs(builder, graph, number)
    y = builder.input(_name("x", number), node.shape, node.dtype)
    v = builder.input(_name("v", number), node.shape)
    passed = node.function.vjp(v, y, *(xs[i] for i in node.inputs), **node.keywords)
    return {
        index: _piece(builder, unbroadcast(builder.symbol(adjoint), xs[i], y))
        for index, (i, adjoint) in enumerate(zip(node.inputs, passed, strict=True))
        if adjoint is not None and graph.nodes[i].constant is None
    }


def _inputs(builder: Builder, graph: FlowGraph, number: int) -> dict[int, Symbol]:
    """Return symbols for a node's inputs, as inputs of one sample or constants."""
    builder.source = graph.nodes[number].source
    symbols = {}
    for i in dict.fromkeys(graph.nodes[number].inputs):
        node = graph.nodes[i]
        symbols[i] = (
            builder.input(_name("x", i), node.shape, node.dtype)
            if node.constant is None
            else builder.constant(node.constant)
        )
    return symbols


def _piece(builder: Builder, symbol: Symbol) -> Piece:
    graph = builder.graph({"": symbol})
    leaves = {}
    for key in graph.inputs:
        kind, number = key.split()
        leaves[key] = Reference(kind, int(number))
    return Piece(graph, leaves)


def _name(kind: str, number: int) -> str:
    return f"{kind} {number}"
