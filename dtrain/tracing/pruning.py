"""Remove the nodes that no output needs, and mark the inputs that are integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dtrain.functions.gather import integer
from dtrain.functions.piecewise import real
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import Node


def prune(graph: FlowGraph) -> FlowGraph:
    """Return the graph with its inputs, its weights and what its outputs need.

    An input that holds indices becomes an integer. Functions that read it as a number
    read a conversion to real numbers instead.
    """
    needed = graph.needed()
    for number in (*graph.inputs.values(), *graph.weights.values()):
        needed[number] = True
    integers, read_as_real = _integer_inputs(graph, needed)
    new_number: dict[int, int] = {}
    converted: dict[int, int] = {}
    nodes: list[Node] = []
    for number, node in enumerate(graph.nodes):
        if not needed[number]:
            continue
        new_number[number] = len(nodes)
        if number in integers:
            nodes.append(replace(node, dtype="int"))
            if number in read_as_real:
                conversion = Node(
                    function=real,
                    inputs=(new_number[number],),
                    params=(),
                    shape=node.shape,
                    kind=node.kind,
                    dtype="real",
                    source=node.source,
                )
                converted[number] = len(nodes)
                nodes.append(conversion)
            continue
        read = {} if node.function is integer else converted
        inputs = tuple([read.get(i, new_number[i]) for i in node.inputs])
        nodes.append(node if inputs == node.inputs else replace(node, inputs=inputs))

    def renumbered(numbers: Mapping[str, int]) -> dict[str, int]:
        return {name: new_number[number] for name, number in numbers.items()}

    return replace(
        graph,
        nodes=tuple(nodes),
        inputs=renumbered(graph.inputs),
        weights=renumbered(graph.weights),
        outputs=renumbered(graph.outputs),
    )


def _integer_inputs(graph: FlowGraph, needed: list[bool]) -> tuple[set[int], set[int]]:
    """Return the inputs that are integers, and the nodes that are read as numbers.

    An input that is used as an index is an integer, however else it is used. An input
    that is only cast may hold other numbers; it is an integer if nothing reads those.
    """
    indices, cast, read_as_real = set[int](), set[int](), set[int]()
    for number, node in enumerate(graph.nodes):
        if needed[number]:
            integers = cast if node.params else indices
            found = integers if node.function is integer else read_as_real
            found.update(node.inputs)
    indices |= cast - read_as_real - {*graph.outputs.values()}
    inputs = {i for i in graph.inputs.values() if graph.nodes[i].dtype == "real"}
    return indices & inputs, read_as_real
