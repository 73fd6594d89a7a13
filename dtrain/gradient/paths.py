"""The sum over paths: the lecture's definition of a derivative, evaluated directly.

The derivative of an output by X is the sum, over all paths from X to the output, of the
product of the derivatives along the path (lecture, "In general, there is a DAG from
weight to the output"); for tensors it is a product of Jacobians ("Transfer functions").
The number of paths can be exponential; back-propagation never visits them one by one
(`dtrain.gradient.differentiate`). This module does: it is slow and exact, and serves to
check and to explain back-propagation.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dtrain.errors import UsageError
from dtrain.gradient.differentiate import backward
from dtrain.tracing.builder import Builder
from dtrain.tracing.expand import expand
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import INPUT, WEIGHT, Node
from dtrain.tracing.printing import counted

LIMIT = 100_000
"""The largest number of paths that is enumerated by default."""


class Edge(NamedTuple):
    """One edge of a path: into a node, as its input of this index."""

    node: int
    input: int


Path = tuple[Edge, ...]


class Paths:
    """The paths of a flow graph to one of its nodes.

    Args:
        graph: any flow graph.
        end: the number of the node where paths end; by default the only output.

    Example:
        >>> from dtrain import zoo
        >>> from dtrain.gradient.paths import Paths
        >>> graph = zoo.lecture.trace()
        >>> paths = Paths(graph)
        >>> {name: paths.count(number) for name, number in graph.weights.items()}
        {'W0': 2, 'W1': 1, 'W2': 1}
        >>> for path in paths.all(graph.weights["W0"]):
        ...     print(*(graph.nodes[edge.node].name for edge in path))
        A B C E R
        A B D F R
    """

    def __init__(self, graph: FlowGraph, end: int | None = None) -> None:
        self.graph = graph
        self.end = graph.output if end is None else end
        self._counts = [0] * len(graph.nodes)
        self._counts[self.end] = 1
        self._edges: list[list[Edge]] = [[] for _ in graph.nodes]
        for number in range(self.end, -1, -1):
            if self._counts[number]:
                for index, i in enumerate(graph.nodes[number].inputs):
                    self._counts[i] += self._counts[number]
                    self._edges[i].append(Edge(number, index))
        for edges in self._edges:
            edges.reverse()  # in the order of the nodes

    def count(self, start: int) -> int:
        """Return the number of paths from a node, without enumerating them."""
        return self._counts[start]

    def all(self, start: int) -> Iterator[Path]:
        """Yield every path from a node."""
        if start == self.end:
            yield ()
        path: list[Edge] = []
        pending = [iter(self._edges[start])]
        while pending:
            edge = next(pending[-1], None)
            if edge is None:
                pending.pop()
                del path[-1:]
                continue
            path.append(edge)
            if edge.node == self.end:
                yield tuple(path)
                path.pop()
            else:
                pending.append(iter(self._edges[edge.node]))


class SumOverPaths:
    """The derivatives of one node of a graph at one point, by their definition.

    Args:
        graph: any flow graph.
        given: the value of each input, for one sample, and of each weight, by name.
        end: the number of the node to differentiate; by default the only output.

    Attributes:
        paths: the paths to that node.
        values: the value of each node.

    Example:
        >>> from dtrain import program, weight
        >>> from dtrain.gradient.paths import SumOverPaths
        >>> @program
        ... def cube(x):
        ...     w = weight("w")
        ...     return w * w * w * x
        >>> graph = cube.trace()
        >>> point = SumOverPaths(graph, {"w": 2.0, "x": 5.0})
        >>> [float(point.product(p)) for p in point.paths.all(graph.weights["w"])]
        [20.0, 20.0, 20.0]
        >>> point.derivative(graph.weights["w"])
        array(60.)
    """

    def __init__(
        self, graph: FlowGraph, given: Mapping[str, Any], end: int | None = None
    ) -> None:
        self.graph = graph
        self.paths = Paths(graph, end)
        self.values = evaluate(graph, given)
        self._jacobians: dict[int, list[NDArray[Any]]] = {}

    def jacobian(self, edge: Edge) -> NDArray[Any]:
        """Return the matrix ∂y_i/∂x_j of a node's value y by one input x.

        The elements of y and x are numbered in C order.
        """
        if edge.node not in self._jacobians:
            node = self.graph.nodes[edge.node]
            xs = [self.values[i] for i in node.inputs]
            self._jacobians[edge.node] = _jacobians(node, xs)
        return self._jacobians[edge.node][edge.input]

    def product(self, path: Path) -> NDArray[Any]:
        """Return the product of the Jacobians along a path, from its end backward.

        Its shape is the shape of the end followed by the shape of the start.
        """
        end = self.graph.nodes[self.paths.end]
        if not path:
            return np.eye(self.values[self.paths.end].size).reshape(end.shape * 2)
        factors = map(self.jacobian, reversed(path))
        first = self.graph.nodes[path[0].node].inputs[path[0].input]
        matrix = functools.reduce(operator.matmul, factors)
        return np.asarray(matrix.reshape(end.shape + self.graph.nodes[first].shape))

    def derivative(self, start: int, limit: int = LIMIT) -> NDArray[Any]:
        """Return the sum of the products of all paths from a node.

        Args:
            start: the node's number.
            limit: the largest number of paths to visit.

        Raises:
            UsageError: if there are more paths; the message gives their number.
        """
        count, nodes = self.paths.count(start), self.graph.nodes
        if count > limit:
            raise UsageError(
                f"there are {counted(count, 'path')} from "
                f"{nodes[start].name or start} to "
                f"{nodes[self.paths.end].name or self.paths.end}; a sum over more than "
                f"{limit:,} is refused: back-propagation needs none of them one by one"
            )
        total = np.zeros(nodes[self.paths.end].shape + nodes[start].shape)
        for path in self.paths.all(start):
            total = total + self.product(path)
        return np.asarray(total)


def evaluate(graph: FlowGraph, given: Mapping[str, Any]) -> list[NDArray[Any]]:
    """Return each node's value for one sample, from the functions' NumPy values."""
    values: list[NDArray[Any]] = []
    for node in graph.nodes:
        if node.function in (INPUT, WEIGHT):
            value = given[node.keywords["name"]]
        elif node.constant is not None:
            value = node.constant
        else:
            xs = [values[i] for i in node.inputs]
            value = node.function.value(*xs, **node.keywords)
        values.append(np.asarray(value))
    return values


def _jacobians(node: Node, xs: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return a node's Jacobian by each input, computed with its transfer function.

    Since v_in = Jᵀ v_out, each unit vector as v_out gives one row of J.
    """
    transfer = _transfer(node, [x.shape for x in xs])
    given: dict[str, Any] = {f"x{place}": x for place, x in enumerate(xs)}
    rows = np.eye(int(np.prod(node.shape, dtype=int)))
    jacobians = [np.zeros((len(rows), x.size)) for x in xs]
    for i, unit in enumerate(rows):
        values = evaluate(transfer, given | {"v": unit.reshape(node.shape)})
        for place, number in transfer.outputs.items():
            jacobians[int(place)][i] = values[number].reshape(-1)
    return jacobians


def _transfer(node: Node, shapes: list[tuple[int, ...]]) -> FlowGraph:
    """Return one node's transfer function as a graph of its inputs x and an adjoint v.

    Its outputs are the adjoints that are not zero, named by the inputs' positions.
    """
    builder = Builder(node.function.name)
    xs = [builder.input(f"x{place}", shape) for place, shape in enumerate(shapes)]
    alone = builder.graph({"y": builder.emit(node.function, xs, node.keywords)})
    alone = expand(alone, only_without_vjp=True)
    builder = Builder(node.function.name)
    symbols = builder.include(alone)
    y, xs = symbols[alone.output], [symbols[i] for i in alone.inputs.values()]
    adjoints = backward(y, builder.input("v", y.shape), xs)
    passed = {str(i): v for i, v in enumerate(adjoints) if v is not None}
    return builder.graph(passed)
