"""A graph of scalars, written again with arrays.

A program may be written edge by edge, as the lecture draws it: every weight a scalar,
every neuron a sum. This finds the arrays in it and emits the graph that the same
program would have in the vector view, so that it is differentiated and planned as that.
Sums are associated anew; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dtrain.engine.groups import (
    Group,
    Groups,
    Mapped,
    Part,
    Places,
    Stacked,
    Summed,
    evenly,
)
from dtrain.engine.sums import Term
from dtrain.functions.shape import Positions, Slices, index, place, reshape
from dtrain.program.builder import Builder
from dtrain.program.graph import INPUT, WEIGHT, FlowGraph, Node
from dtrain.program.symbol import Symbol


def vectorise(graph: FlowGraph, *, filled: bool = True) -> FlowGraph:
    """The graph with arrays in place of isomorphic scalars; itself if there are none.

    Its scalar weights are then one vector, in the order of the GradientVector.

    Args:
        graph: a program's graph.
        filled: whether sums that do not all read the same values may become a matrix
            with zeros in it. A value that is not finite then spreads; but where it is
            multiplied by a weight whose derivative is asked for, that is not finite
            either.
    """
    groups = Groups(graph, filled)
    return _Writer(groups).graph() if groups.grouped else graph


class _Writer:
    """Emits a graph's nodes, level by level, with groups of scalars as arrays."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._old = groups.graph
        self._builder = Builder(self._old.name)
        self._symbols: dict[int, Symbol] = {}

    def graph(self) -> FlowGraph:
        """The finished graph."""
        groups, builder = self._groups, self._builder
        for number in self._old.inputs.values():
            self._emit(number)
        for array, names in groups.scalars.items():
            specs = [self._old.specs[name] for name in names]
            self._symbols[array] = builder.scalars(specs)
        levels = zip(groups.nodes_of_levels, groups.levels, strict=True)
        for numbers, arrays in levels:
            for array, group in arrays:
                builder.source = self._old.nodes[group.members[0]].source
                self._symbols[array] = builder.symbol(self._array(group))
            for number in numbers:
                if number not in groups.grouped and number not in self._symbols:
                    for step in (*groups.sums.inner.get(number, ()), number):
                        self._emit(step)
        outputs = {name: self._scalar(i) for name, i in self._old.outputs.items()}
        return builder.graph(outputs)

    def _emit(self, number: int) -> None:
        """Emit a node as it is."""
        node, builder = self._old.nodes[number], self._builder
        builder.source = node.source
        constant = node.constant
        if number in self._groups.at and number not in self._groups.stacked:
            return  # read where it is needed
        if node.function is INPUT:
            symbol = builder.input(node.keywords["name"], node.shape)
        elif node.function is WEIGHT:
            symbol = builder.weight(self._old.specs[node.keywords["name"]])
        elif constant is not None:
            symbol = builder.constant(constant)
        else:
            members = self._stacked(node)
            if members is not None:
                symbol = self._gathered(members, node.shape)
            else:
                xs = [self._scalar(i) for i in node.inputs]
                symbol = builder.emit(node.function, xs, node.keywords)
        if node.name and symbol.node.name is None:
            symbol = builder.name_node(symbol, node.name)
        self._symbols[number] = symbol

    def _scalar(self, number: int) -> Symbol:
        """A node's value by itself."""
        symbol = self._symbols.get(number)
        if symbol is None:
            array, at = self._groups.at[number]
            symbol = self._symbols[number] = self._read(array, np.array(at))
        return symbol

    def _read(self, array: int, places: Places) -> Symbol:
        """Elements of an array, in the shape of the places."""
        x: Any = np.ravel(self._symbols[array])  # type: ignore[arg-type]
        if not np.array_equal(places.reshape(-1), np.arange(x.size)):
            x = index(x, at=_at(places.reshape(-1)))
        return self._builder.symbol(np.reshape(x, places.shape))

    def _gathered(self, numbers: Sequence[int], shape: tuple[int, ...]) -> Symbol:
        """Scalars as one array: read from where they are, joined if need be."""
        builder, nodes = self._builder, self._old.nodes
        constants = [nodes[i].constant for i in numbers]
        values = [value for value in constants if value is not None]
        if len(values) == len(numbers):
            return builder.constant(np.reshape(values, shape))
        homes: dict[int, list[int]] = {}
        for to, number in enumerate(numbers):
            home = self._groups.at.get(number, (-1, 0))[0]
            homes.setdefault(home if home in self._symbols else -1, []).append(to)
        parts: list[Any] = []
        at = []
        for array, tos in homes.items():
            if array >= 0:
                places = np.array([self._groups.at[numbers[to]][1] for to in tos])
                if len(homes) == 1:
                    return self._read(array, places.reshape(shape))
                parts.append(self._read(array, places))
                at.append(_at(np.array(tos)))
            else:
                for to in tos:
                    parts.append(np.reshape(self._scalar(numbers[to]), (1,)))
                    at.append(Slices(((to, 1, 1),)))
        joined = place(*parts, at=tuple(at), shape=(len(numbers),))
        return builder.symbol(np.reshape(joined, shape))

    def _stacked(self, node: Node) -> list[int] | None:
        """The scalars that a node stacks to an array, if it does no more than that."""
        if node.function is not place:
            return None
        shape = node.keywords["shape"]
        members: dict[int, int] = {}
        numbers = np.arange(np.prod(shape, dtype=int)).reshape(shape)
        for i, at in zip(node.inputs, node.keywords["at"], strict=True):
            x = self._old.nodes[i]
            if x.function is not reshape or self._old.nodes[x.inputs[0]].shape != ():
                return None
            members[int(at.read(numbers).reshape(()))] = x.inputs[0]
        if len(members) != numbers.size or len(node.inputs) != numbers.size:
            return None
        if not all(i in self._groups.at for i in members.values()):
            return None
        return [members[to] for to in range(numbers.size)]

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
        """What the sums of a group have from one array."""
        values = self._read(part.array, part.read)
        if part.cells is not None:
            shape = size, len(part.read)
            return _placed(self._factors(part.terms), part.cells, shape) @ values
        factors = self._factors(part.terms)
        return factors * values

    def _factors(self, terms: Sequence[Term]) -> Any:
        """The factors of terms, with their signs, as one vector."""
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


def _at(places: Places) -> Slices | Positions:
    """Places of a vector as an index, a slice if they are one."""
    if evenly(places):
        step = int(places[1] - places[0]) if len(places) > 1 else 1
        return Slices(((int(places[0]), len(places), step),))
    return Positions(places.astype(np.int64).tobytes(), places.shape)


def _placed(x: Any, places: Places, shape: tuple[int, ...]) -> Any:
    """Zeros of a shape with x added at places in C order; x itself if that is all."""
    size = int(np.prod(shape))
    if np.array_equal(places, np.arange(size)):
        return np.reshape(x, shape)
    return np.reshape(place(x, at=(_at(places),), shape=(size,)), shape)
