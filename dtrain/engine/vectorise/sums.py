"""Flatten chains of scalar additions into n-ary sums.

A neuron written edge by edge is a chain, or a tree, of additions of products w·x. If
each intermediate result is read only by the next addition, they are all one sum,
whatever the brackets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dtrain.functions.arithmetic import add, multiply, negative, subtract
from dtrain.functions.base import Kind
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import Node

_ADDITIVE = (add, subtract, negative)


class Term(NamedTuple):
    """One term of a sum: plus or minus a factor times a value.

    Attributes:
        negative: whether it is subtracted.
        factor: the node that all samples share; ``None`` for 1.
        value: the node that varies by sample; ``None`` for a bias.
    """

    negative: bool
    factor: int | None
    value: int | None


class Sums:
    """The sums in a graph.

    Attributes:
        terms: the terms of each sum, in the program's order, by the sum's last node.
        inner: the intermediate nodes of each sum, by the sum's last node.
        reader: the only reader of a node, for nodes that have one.
    """

    def __init__(self, graph: FlowGraph) -> None:
        self._nodes = graph.nodes
        self.reader = _only_readers(graph)
        self.terms: dict[int, list[Term]] = {}
        self.inner: dict[int, list[int]] = {}
        steps = self._steps()
        for number, node in enumerate(graph.nodes):
            if _is_additive(node) and number not in steps:
                self._collect(number, steps)

    def _steps(self) -> set[int]:
        """Return the nodes that are only intermediate results of a longer sum."""
        return {
            number
            for number, reader in self.reader.items()
            if _is_additive(self._nodes[reader])
            and (_is_additive(self._nodes[number]) or self._factors(number))
        }

    def _factors(self, number: int) -> tuple[int, int] | None:
        """Return factor and value of a node that is their product, else ``None``."""
        node = self._nodes[number]
        if node.function is not multiply or node.shape != ():
            return None
        a, b = node.inputs
        kinds = self._nodes[a].kind, self._nodes[b].kind
        if kinds == (Kind.WEIGHTS, Kind.SAMPLE):
            return a, b
        return (b, a) if kinds == (Kind.SAMPLE, Kind.WEIGHTS) else None

    def _collect(self, root: int, steps: set[int]) -> None:
        terms: list[Term] = []
        inner: list[int] = []
        waiting = [(root, False)]
        while waiting:
            number, minus = waiting.pop()
            node = self._nodes[number]
            if number != root and number in steps:
                inner.append(number)
            if number == root or (number in steps and _is_additive(node)):
                waiting += reversed(_signed(node, minus))
            elif number in steps:
                terms.append(Term(minus, *(self._factors(number) or (None, None))))
            elif node.kind is Kind.WEIGHTS:
                terms.append(Term(minus, number, None))
            else:
                terms.append(Term(minus, None, number))
        self.terms[root], self.inner[root] = terms, sorted(inner)


def _is_additive(node: Node) -> bool:
    return node.function in _ADDITIVE and node.shape == () and node.kind is Kind.SAMPLE


def _signed(node: Node, minus: bool) -> Sequence[tuple[int, bool]]:
    """Return the operands of an addition, and whether each is subtracted in total."""
    if node.function is negative:
        return [(node.inputs[0], not minus)]
    a, b = node.inputs
    return [(a, minus), (b, minus != (node.function is subtract))]


def _only_readers(graph: FlowGraph) -> dict[int, int]:
    """Return the reader of each node that is read once and is no output."""
    reader: dict[int, int] = {}
    often = set(graph.outputs.values())
    for number, node in enumerate(graph.nodes):
        for i in node.inputs:
            if i in reader:
                often.add(i)
            reader[i] = number
    return {i: number for i, number in reader.items() if i not in often}
