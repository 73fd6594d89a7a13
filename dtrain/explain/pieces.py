"""One node's value and transfer functions as separate small graphs.

A small graph can be evaluated, written in the lecture's notation, or translated to
another language.
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
        leaves: the value or adjoint that each input stands for, by name.
    """

    graph: FlowGraph
    leaves: Mapping[str, Reference]

    @property
    def parts(self) -> Parts:
        """The expression, such as ``v_E · (1 − E²)``; ``Jᵀ v`` if it is too long."""
        references = {
            self.graph.inputs[key]: reference for key, reference in self.leaves.items()
        }
        adjoints = (leaf for leaf in self.leaves.values() if leaf.kind == "v")
        written = expression(self.graph, self.graph.output, references)
        return written or ("Jᵀ ", *adjoints)


def value(graph: FlowGraph, number: int) -> Piece:
    """Return a node's value as a graph of its inputs' values."""
    node, builder = graph.nodes[number], Builder(graph.name)
    xs = _inputs(builder, graph, number)
    symbol = builder.emit(node.function, [xs[i] for i in node.inputs], node.keywords)
    return _piece(builder, symbol)


def transfers(graph: FlowGraph, number: int) -> dict[int, Piece]:
    """Return a node's transfer function for each input, by the input's position.

    It is a graph of the node's adjoint v, its value, and its inputs' values. Constants
    have none.
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
        place: _piece(builder, unbroadcast(builder.symbol(adjoint), xs[i], y))
        for place, (i, adjoint) in enumerate(zip(node.inputs, passed, strict=True))
        if adjoint is not None and graph.nodes[i].constant is None
    }


def _inputs(builder: Builder, graph: FlowGraph, number: int) -> dict[int, Symbol]:
    """Return symbols for a node's inputs, of the kind of samples."""
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
