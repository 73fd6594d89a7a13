"""How a program uses its inputs and weights, read from its graph."""

from __future__ import annotations

from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import SCALARS, WEIGHT

_MOVING = {  # functions that move elements, and change none
    "broadcast",
    "index",
    "place",
    "real",
    "reshape",
    "to_samples",
    "transpose",
    "windows",
}
_LINEAR = _MOVING | {
    "add",
    "block_sum",
    "cumsum",
    "gather",
    "negative",
    "overlap_add",
    "scatter",
    "subtract",
    "sum",
}
_PRODUCTS = {"contract", "multiply"}


def of_weights(graph: FlowGraph) -> list[bool]:
    """Return for each node whether it depends on a weight."""
    depends: list[bool] = []
    for node in graph.nodes:
        leaf = node.function in (WEIGHT, SCALARS)
        depends.append(leaf or any(depends[i] for i in node.inputs))
    return depends


def affine(graph: FlowGraph) -> bool:
    """Return whether the outputs are certainly affine functions of the weights.

    Then each sample's output is a constant plus a linear function of the weights, as
    in linear and logistic regression. A function that is not known to be linear counts
    as one that is not.
    """
    depends, needed = of_weights(graph), graph.needed()
    for number, node in enumerate(graph.nodes):
        if not (needed[number] and node.inputs and depends[number]):
            continue
        function = node.function.name
        moving = [depends[i] for i in node.inputs]
        linear = (
            function in _LINEAR
            or (function in _PRODUCTS and sum(moving) == 1)
            or (function == "divide" and not moving[1])
            or (function == "where" and not moving[0])
        )
        if not linear:
            return False
    return True


def multiplied(graph: FlowGraph) -> list[str]:
    """Return the inputs that are multiplied by weights as they are in the data.

    The derivative by such a weight is as large as the input is. An input that the
    program scales first, or that is an index, is not among them.
    """
    depends, needed = of_weights(graph), graph.needed()
    names = {number: {name} for name, number in graph.inputs.items()}
    raw: list[set[str]] = []
    found: set[str] = set()
    for number, node in enumerate(graph.nodes):
        given = [raw[i] for i in node.inputs]
        function = node.function.name
        moved = set[str]().union(*given) if function in _MOVING else set[str]()
        raw.append(names.get(number, moved))
        if function in _PRODUCTS and needed[number]:
            for i, j in (node.inputs, node.inputs[::-1]):
                if depends[j]:
                    found |= raw[i]
    return [name for name in graph.inputs if name in found]
