"""Rewrite a graph of scalars with arrays.

A program may be written edge by edge, as the lecture draws it: every weight a scalar,
every neuron a sum. This pass finds the arrays in such a graph and emits the graph that
the program would have in the vector view, which is then differentiated and planned.
The terms of sums are added in another order; nothing else changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dtrain.engine.vectorise.grouping import Grouping, Names
from dtrain.engine.vectorise.groups import (
    Group,
    Indices,
    Mapped,
    Part,
    Stacked,
    Summed,
    evenly,
)
from dtrain.engine.vectorise.sums import Term
from dtrain.functions.shape import Positions, Slices, index, place, reshape
from dtrain.tracing.builder import Builder
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import INPUT, WEIGHT, Node
from dtrain.tracing.symbol import Symbol


def vectorise(
    graph: FlowGraph, *, filled: bool, frozen: Names = frozenset()
) -> FlowGraph:
    """Return a graph with arrays instead of similar scalars; itself if that never pays.

    Scalar weights with successive names are then one vector, as they are in the
    GradientVector, and matrices are read from it.

    Args:
        graph: a program's graph.
        filled: whether sums that do not all read the same values may become a matrix
            with zeros in it. In such a matrix, a value that is not finite spreads to
            sums that do not read it. So this is for graphs that are differentiated, and
            for sums that an adjoint reaches: there the derivative of the weight that
            the value is multiplied by is not finite either.
        frozen: the weights that no derivative is wanted by; they are not in one vector
            with others.
    """
    grouping = Grouping(graph, frozen, filled=filled)
    return _Writer(grouping).graph() if grouping.pays() else graph


class _Writer:
    """Emits a graph's nodes, level by level, with arrays instead of groups."""

    def __init__(self, grouping: Grouping) -> None:
        self._grouping = grouping
        self._old = grouping.graph
        self._builder = Builder(self._old.name)
        # By number: of nodes that were emitted as they are, and of arrays.
        self._symbols: dict[int, Symbol] = {}

    def graph(self) -> FlowGraph:
        """Return the finished graph."""
        grouping, builder = self._grouping, self._builder
        for number in self._old.inputs.values():
            self._emit(number)
        for array, names in grouping.vectors.items():
            specs = [self._old.specs[name] for name in names]
            self._symbols[array] = builder.scalars(specs)
        for numbers, groups in grouping.levels:
            for array, group in groups:
                builder.source = self._old.nodes[group.members[0]].source
                self._symbols[array] = builder.symbol(self._array(group))
            for number in numbers:
                for step in (*grouping.sums.inner.get(number, ()), number):
                    if number not in grouping.grouped:
                        self._emit(step)
        outputs = {name: self._scalar(i) for name, i in self._old.outputs.items()}
        return builder.graph(outputs)

    def _emit(self, number: int) -> None:
        """Emit a node as it is, unless it was emitted or is read from an array."""
        grouping, builder = self._grouping, self._builder
        element = number in grouping.at and number not in grouping.stacked
        if element or number in self._symbols:
            return
        node = self._old.nodes[number]
        builder.source = node.source
        constant = node.constant
        joined = self._joined(node)
        if node.function is INPUT:
            symbol = builder.input(node.keywords["name"], node.shape, node.dtype)
        elif node.function is WEIGHT:
            symbol = builder.weight(self._old.specs[node.keywords["name"]])
        elif constant is not None:
            symbol = builder.constant(constant)
        elif joined is not None:
            symbol = self._gathered(joined, node.shape)
        else:
            xs = [self._scalar(i) for i in node.inputs]
            symbol = builder.emit(node.function, xs, node.keywords)
        if node.name and symbol.node.name is None and node.name not in builder.names:
            symbol = builder.name_node(symbol, node.name)
        self._symbols[number] = symbol

    def _joined(self, node: Node) -> list[int] | None:
        """Return the elements of arrays that a node joins, if it does only that."""
        if node.function is not place:
            return None
        shape, nodes = node.keywords["shape"], self._old.nodes
        numbers = np.arange(math.prod(shape)).reshape(shape)
        members: dict[int, int] = {}
        for i, at in zip(node.inputs, node.keywords["at"], strict=True):
            to = at.read(numbers)
            if nodes[i].function is not reshape or to.size != 1:
                return None
            members[int(to.reshape(()))] = nodes[i].inputs[0]
        if not len(members) == len(node.inputs) == numbers.size:
            return None
        if any(i not in self._grouping.at for i in members.values()):
            return None
        return [members[to] for to in range(numbers.size)]

    def _scalar(self, number: int) -> Symbol:
        """Return the symbol of a scalar node."""
        symbol = self._symbols.get(number)
        if symbol is None:
            array, at = self._grouping.at[number]
            symbol = self._symbols[number] = self._read(array, np.array(at))
        return symbol

    def _read(self, array: int, indices: Indices) -> Symbol:
        """Return elements of an array, in the shape of the indices."""
        x: Any = np.ravel(self._symbols[array])
        if not np.array_equal(indices.reshape(-1), np.arange(x.size)):
            x = index(x, at=_at(indices.reshape(-1)))
        return self._builder.symbol(np.reshape(x, indices.shape))

    def _gathered(self, numbers: Sequence[int], shape: tuple[int, ...]) -> Symbol:
        """Return scalars as one array: read from their arrays, and joined if needed."""
        builder, at = self._builder, self._grouping.at
        constants = [self._old.nodes[i].constant for i in numbers]
        values = [value for value in constants if value is not None]
        if len(values) == len(numbers):
            return builder.constant(np.reshape(values, shape))
        homes: dict[int, list[int]] = {}
        for to, number in enumerate(numbers):
            array, _ = at.get(number, (-1, 0))
            homes.setdefault(array if array in self._symbols else -1, []).append(to)
        parts: list[Any] = []
        tos: list[Slices | Positions] = []
        for array, each in homes.items():
            if array < 0:
                parts += [np.reshape(self._scalar(numbers[to]), (1,)) for to in each]
                tos += [_at(np.array([to])) for to in each]
                continue
            indices = np.array([at[numbers[to]][1] for to in each])
            if len(homes) == 1:
                return self._read(array, indices.reshape(shape))
            parts.append(self._read(array, indices))
            tos.append(_at(np.array(each)))
        joined = place(*parts, at=tuple(tos), shape=(len(numbers),))
        return builder.symbol(np.reshape(joined, shape))

    # Groups

    def _array(self, group: Group) -> Any:
        if isinstance(group, Stacked):
            return np.stack([self._symbols[i] for i in group.members])
        if isinstance(group, Mapped):
            return self._mapped(group)
        return self._summed(group)

    def _mapped(self, group: Mapped) -> Any:
        node = self._old.nodes[group.members[0]]
        xs = [
            self._scalar(column[0])
            if len(set(column)) == 1
            else self._gathered(column, (len(column),))
            for column in group.columns
        ]
        return self._builder.apply(node.function, xs, node.keywords)

    def _summed(self, group: Summed) -> Any:
        size = len(group.members)
        total, *others = [self._product(part, size) for part in group.parts]
        for other in others:
            total = total + other
        if group.biases:
            rows = np.array([row for row, _ in group.biases])
            factors = self._factors([term for _, term in group.biases])
            total = total + _placed(factors, rows, (size,))
        return total

    def _product(self, part: Part, size: int) -> Any:
        """Return what one array contributes to the sums of a group."""
        values = self._read(part.array, part.read)
        if part.cells is not None:
            shape = size, len(part.read)
            return _placed(self._factors(part.terms), part.cells, shape) @ values
        return self._factors(part.terms) * values

    def _factors(self, terms: Sequence[Term]) -> Any:
        """Return the factors of terms, with their signs, as one vector."""
        signs = np.array([-1.0 if term.negative else 1.0 for term in terms])
        given = np.array([i for i, t in enumerate(terms) if t.factor is not None], int)
        free = np.setdiff1d(np.arange(len(terms)), given)
        if not given.size:
            return self._builder.constant(signs)
        factors = [t.factor for t in terms if t.factor is not None]
        x = self._gathered(factors, (len(factors),)) * signs[given]
        if not free.size:
            return x
        at = _at(given), _at(free)
        return place(x, self._builder.constant(signs[free]), at=at, shape=signs.shape)


def _at(indices: Indices) -> Slices | Positions:
    """Return indices of a vector as a slice if they are one, else as positions."""
    if evenly(indices):
        step = int(indices[1] - indices[0]) if len(indices) > 1 else 1
        return Slices(((int(indices[0]), len(indices), step),))
    return Positions(indices.astype(np.int64).tobytes(), indices.shape)


def _placed(x: Any, indices: Indices, shape: tuple[int, ...]) -> Any:
    """Return zeros of a shape with x added at indices; x itself if it fills it."""
    size = math.prod(shape)
    if np.array_equal(indices, np.arange(size)):
        return np.reshape(x, shape)
    return np.reshape(place(x, at=(_at(indices),), shape=(size,)), shape)
