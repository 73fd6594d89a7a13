"""Replace functions by their definitions in terms of other base functions."""

from __future__ import annotations

from dtrain.functions.base import Kind
from dtrain.functions.block_axis import to_samples
from dtrain.tracing.builder import Builder
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import INPUT, SCALARS, WEIGHT, Node
from dtrain.tracing.symbol import Symbol


def expand(graph: FlowGraph, only_without_vjp: bool = False) -> FlowGraph:
    """Return an equal graph in which no node's function has a definition.

    Args:
        graph: any flow graph.
        only_without_vjp: keep functions that have a transfer function.
    """

    def expands(node: Node) -> bool:
        has_vjp = node.function.vjp is not None
        return node.function.definition is not None and not (
            only_without_vjp and has_vjp
        )

    if not any(expands(node) for node in graph.nodes):
        return graph
    builder = Builder(graph.name)
    symbols: list[Symbol] = []
    for node in graph.nodes:
        builder.source = node.source
        xs = [symbols[i] for i in node.inputs]
        constant = node.constant
        if node.function is INPUT:
            symbol = builder.input(node.keywords["name"], node.shape, node.dtype)
        elif node.function is WEIGHT:
            symbol = builder.weight(graph.specs[node.keywords["name"]])
        elif node.function is SCALARS:
            names = node.keywords["names"]
            symbol = builder.scalars([graph.specs[name] for name in names])
        elif constant is not None:
            symbol = builder.constant(constant)
        elif expands(node):
            assert node.function.definition is not None  # noqa: S101
            symbol = builder.symbol(node.function.definition(*xs, **node.keywords))
            if symbol.node.kind is not node.kind is Kind.SAMPLE:
                symbol = builder.symbol(to_samples(symbol))
        else:
            symbol = builder.apply(node.function, xs, node.keywords)
        if node.name and symbol.node.name is None and node.name not in builder.names:
            builder.name_node(symbol, node.name)
        symbols.append(symbol)
    builder.source = None
    expanded = builder.graph({key: symbols[i] for key, i in graph.outputs.items()})
    return expand(expanded, only_without_vjp)  # definitions may use definitions
