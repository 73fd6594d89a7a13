"""The origin of what is not finite: the first node that made it out of finite values.

Infinities that a program writes as masks, and values in a branch that is not chosen,
may vanish again as they should. So the search goes backward, from the results that are
not finite, sample by sample, through what is not finite itself; whatever that does not
lead to has done no harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.functions.base import Kind
from dtrain.functions.piecewise import where
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import CONSTANT, INPUT, Node

Array = NDArray[Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Origin:
    """Where something ceased to be finite.

    Attributes:
        node: the node.
        row: the sample's place in the block; ``None`` if it is not one sample's.
        what: what the node made of what.
    """

    node: Node
    row: int | None
    what: str


def observed(graph: FlowGraph) -> FlowGraph:
    """Return the graph with each node as an output, named by its number."""
    return replace(graph, outputs={str(i): i for i in range(len(graph.nodes))})


def origin(graph: FlowGraph, values: Mapping[str, Array]) -> Origin | None:
    """The first node in topological order to which the search leads, or ``None``.

    That is one that made what is not finite of finite values, or NaN of infinities; or
    else a constant that is infinite, for which no node is to blame.

    Args:
        graph: a graph with its results as outputs.
        values: the outputs of the `observed` graph, for one block.
    """
    search = _Search(graph, values)
    constants = []
    for number, node in enumerate(graph.nodes):
        if not search.reached[number].any():
            continue
        constant = node.constant
        if constant is not None and not np.isfinite(constant).all():
            constants.append(number)
        elif (made := search.made(number)).any():
            return search.origin(number, int(np.argmax(made)) if made.ndim else None)
    if not constants:
        return None
    return Origin(graph.nodes[constants[0]], None, "a constant that is not finite")


class _Search:
    """What is not finite in a block, and from where results are reached.

    A mask has one element for each sample of the block, or none for a node that is the
    same for all of them.

    Attributes:
        reached: by node, whether what is not finite there has come to a result.
    """

    def __init__(self, graph: FlowGraph, values: Mapping[str, Array]) -> None:
        self._graph = graph
        self._values = [
            _of_block(values[str(i)], node) for i, node in enumerate(graph.nodes)
        ]
        self._bad = [self._any(i, _not_finite) for i in range(len(graph.nodes))]
        self.reached = [np.zeros_like(bad) for bad in self._bad]
        for number in graph.outputs.values():
            self.reached[number] = self._bad[number]
        for number in range(len(graph.nodes) - 1, -1, -1):
            if self.reached[number].any():
                for place, i in enumerate(graph.nodes[number].inputs):
                    self._pass(number, place, i)

    def _any(self, number: int, test: Any) -> Mask:
        """Where some element of a sample's value passes a test."""
        kind, value = self._graph.nodes[number].kind, self._values[number]
        axes = tuple(range(1 if kind is Kind.SAMPLE else 0, value.ndim))
        return np.asarray(np.any(test(value), axis=axes))

    def _pass(self, number: int, place: int, i: int) -> None:
        """Go on to an input that is not finite where it was used."""
        used = self._bad[i]
        if self._graph.nodes[number].function is where and place:
            used = _fit(self._chosen(number, place), self._bad[i])
        self.reached[i] = self.reached[i] | (used & _fit(self.reached[number], used))

    def _chosen(self, number: int, place: int) -> Mask:
        """Where a branch of a choice is chosen and not finite."""
        node = self._graph.nodes[number]
        condition, branch = (
            self._wide(i, node) for i in (node.inputs[0], node.inputs[place])
        )
        chosen = (condition if place == 1 else ~condition) & _not_finite(branch)
        return np.asarray(chosen.any(axis=tuple(range(1, chosen.ndim))))

    def _wide(self, i: int, node: Node) -> Array:
        """An input's value with a node's number of axes after that of the samples."""
        value, own = self._values[i], self._graph.nodes[i]
        lead = value.shape[:1] if own.kind is Kind.SAMPLE else (1,)
        ones = (1,) * (len(node.shape) - len(own.shape))
        return value.reshape(*lead, *ones, *own.shape)

    def made(self, number: int) -> Mask:
        """Where a node that was reached made what is not finite itself."""
        node, reached = self._graph.nodes[number], self.reached[number]
        if node.function.elementwise:
            elements = self._elements(number)
            rows = np.any(elements, axis=tuple(range(1, elements.ndim)))
            return np.asarray(reached & (rows if reached.ndim else np.any(rows)))
        clean = ~_union((self._bad[i] for i in node.inputs), reached)
        numbers = ~_union((self._any(i, np.isnan) for i in node.inputs), reached)
        return np.asarray(reached & (clean | (self._any(number, np.isnan) & numbers)))

    def _elements(self, number: int) -> Mask:
        """Return the same for each element of an elementwise function's value."""
        node = self._graph.nodes[number]
        value = self._wide(number, node)
        xs = [self._wide(i, node) for i in node.inputs]
        finite = np.logical_and.reduce([np.isfinite(x) for x in _alike(xs, value)])
        nan = np.logical_or.reduce([np.isnan(x) for x in _alike(xs, value)])
        made = (_not_finite(value) & finite) | (np.isnan(value) & ~nan)
        return np.asarray(made)

    def origin(self, number: int, row: int | None) -> Origin:
        """Return a node as the origin, in a sample, or for all of them."""
        node = self._graph.nodes[number]
        value = self._part(number, row)
        elements = _not_finite(value)
        if node.function.elementwise:
            elements = self._elements(number)[row or 0]
        at = tuple(np.argwhere(elements)[0])
        result = f"{value[at]:.6g}"
        if node.function is INPUT or node.function is CONSTANT:
            kind = "input" if node.function is INPUT else "constant"
            name = f" {node.name!r}" if node.name else ""
            return Origin(node, row, f"{kind}{name} is too large for {value.dtype}")
        if node.function.elementwise:
            xs = _alike([self._part(i, row) for i in node.inputs], value)
            given = " and ".join(f"{x[at]:.6g}" for x in xs)
            return Origin(node, row, f"{node.function.name} of {given} is {result}")
        name = _SAID.get(node.function.name, node.function.name)
        finite = not any(self._bad[i].any() for i in node.inputs)
        values = "finite values" if finite else "infinite values"
        return Origin(node, row, f"{name} of {values} is {result}")

    def _part(self, number: int, row: int | None) -> Array:
        """Return a node's value for one sample, in its own shape."""
        own = self._graph.nodes[number].kind is Kind.SAMPLE and row is not None
        return self._values[number][row] if own else self._values[number]


_SAID = {"contract": "a sum of products (@, dot, einsum)", "block_sum": "the sum"}


def _of_block(value: Array, node: Node) -> Array:
    """Return the only block's value, with an axis of samples if it varies by sample."""
    return value if node.kind is Kind.WEIGHTS else value[0]


def _alike(xs: Sequence[Array], value: Array) -> list[Array]:
    """Operands, broadcast as they were for a value."""
    return [np.broadcast_to(x, value.shape) for x in xs]


def _not_finite(value: Array) -> Mask:
    return ~np.isfinite(value)


def _fit(mask: Mask, like: Mask) -> Mask:
    """A mask for one node as one for another: of any sample, or the same for all."""
    if mask.ndim > like.ndim:
        mask = np.asarray(mask.any())
    return np.broadcast_to(mask, like.shape)


def _union(masks: Iterable[Mask], like: Mask) -> Mask:
    union = np.zeros_like(like)
    for mask in masks:
        union = union | _fit(mask, like)
    return union
