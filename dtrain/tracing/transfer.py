"""A transfer function as a graph of its own, so that two can be compared."""

from __future__ import annotations

from dtrain.tracing.builder import Builder
from dtrain.tracing.graph import FlowGraph, Node


def transfer(graph: FlowGraph, node: Node) -> FlowGraph:
    """What a node's function passes backward, from its adjoint, value and inputs."""
    assert node.function.vjp is not None  # noqa: S101
    builder = Builder(node.function.name)
    builder.source = node.source
    v, y = (builder.input(name, node.shape) for name in ("v", "y"))
    xs = [
        builder.input(f"x{i}", graph.nodes[number].shape, graph.nodes[number].dtype)
        for i, number in enumerate(node.inputs)
    ]
    adjoints = node.function.vjp(v, y, *xs, **node.keywords)
    return builder.graph(
        {
            f"d{i}": builder.symbol(adjoint)
            for i, adjoint in enumerate(adjoints)
            if adjoint is not None
        }
    )
