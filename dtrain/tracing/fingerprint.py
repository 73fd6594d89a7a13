"""The fingerprint of a flow graph; graphs with equal ones compute the same."""

from __future__ import annotations

import hashlib
from typing import Any
from weakref import WeakKeyDictionary

from dtrain.functions.base import FUNCTIONS
from dtrain.tracing.builder import Builder
from dtrain.tracing.expand import expand
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import Node

_known: WeakKeyDictionary[FlowGraph, str] = WeakKeyDictionary()


def fingerprint(graph: FlowGraph) -> str:
    """Return the SHA-256 of a graph's functions, wiring, constants and leaf names.

    File names, lines and the names of inner nodes do not count. A function defined by
    others counts as those, and a custom transfer function as its graph.
    """
    if graph not in _known:
        _known[graph] = _fingerprint(graph)
    return _known[graph]


def _fingerprint(graph: FlowGraph) -> str:
    digest = hashlib.sha256()
    custom: dict[Any, str] = {}  # a graph may have one function thousands of times
    for node in graph.nodes:
        f = node.function
        if f.vjp is not None and FUNCTIONS.get(f.name) is not f:
            given = [graph.nodes[i] for i in node.inputs]
            key = (f, node.params, *((x.shape, x.dtype) for x in given))
            if key not in custom:
                custom[key] = fingerprint(transfer(graph, node))
            digest.update(custom[key].encode())
    expanded = expand(graph)
    for node in expanded.nodes:
        digest.update(node.identity)
    digest.update(repr(sorted(expanded.outputs.items())).encode())
    return digest.hexdigest()


def transfer(graph: FlowGraph, node: Node) -> FlowGraph:
    """Return the transfer function of a node as a separate graph.

    Its inputs are the adjoint, the value, and the inputs of the node.
    """
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
