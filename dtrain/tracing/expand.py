"""Replace functions by their definitions in terms of other base functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dtrain.functions.base import Kind
from dtrain.functions.block_axis import to_samples
from dtrain.tracing.builder import Builder
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import INPUT, NOISE, SCALARS, WEIGHT, Node
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

    def expanded(builder: Builder, node: Node, xs: Sequence[Symbol]) -> Symbol | None:
        if not expands(node):
            return None
        assert node.function.definition is not None  # noqa: S101
        symbol = builder.symbol(node.function.definition(*xs, **node.keywords))
        if symbol.node.kind is not node.kind is Kind.SAMPLE:
            symbol = builder.symbol(to_samples(symbol))
        return symbol

    # Definitions may use definitions.
    return expand(rebuild(graph, expanded), only_without_vjp)


def rebuild(
    graph: FlowGraph,
    replaced: Callable[[Builder, Node, Sequence[Symbol]], Symbol | None],
) -> FlowGraph:
    """Return a graph with some nodes replaced by others.

    Args:
        graph: any flow graph.
        replaced: given a builder, a node and its new inputs, returns what replaces the
            node; ``None`` keeps it.
    """
    builder = Builder(graph.name)
    symbols: list[Symbol] = []
    for node in graph.nodes:
        builder.source = node.source
        xs = [symbols[i] for i in node.inputs]
        constant = node.constant
        replacement = replaced(builder, node, xs)
        if replacement is not None:
            symbol = replacement
        elif node.function is INPUT:
            symbol = builder.input(node.keywords["name"], node.shape, node.dtype)
        elif node.function is WEIGHT:
            symbol = builder.weight(graph.specs[node.keywords["name"]])
        elif node.function is NOISE:
            symbol = builder.leaf(NOISE, node.params, node.shape)
        elif node.function is SCALARS:
            names = node.keywords["names"]
            symbol = builder.scalars([graph.specs[name] for name in names])
        elif constant is not None:
            symbol = builder.constant(constant)
        else:
            symbol = builder.apply(node.function, xs, node.keywords)
        if node.name and symbol.node.name is None and node.name not in builder.names:
            builder.name_node(symbol, node.name)
        symbols.append(symbol)
    builder.source = None
    return builder.graph({key: symbols[i] for key, i in graph.outputs.items()})
