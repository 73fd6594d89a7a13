"""Grouping: which scalars of a graph become arrays, decided level by level.

Scalars of one level that apply one function to elements of one array become one
application to arrays; sums of products become one product of a matrix and a vector.
Scalars stay where collecting them costs more than it saves. All follows from the graph.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import groupby

import numpy as np

from dtrain.engine.vectorise.groups import (
    Group,
    Indices,
    Mapped,
    Part,
    Stacked,
    Summed,
    evenly,
)
from dtrain.engine.vectorise.sums import Sums, Term
from dtrain.functions.base import Kind, broadcast_shape
from dtrain.functions.shape import index, reshape, transpose
from dtrain.gradient.differentiate import surely_reached
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import WEIGHT

# Limits, measured on regular and irregular layers (docs/performance.md).
_WIDTH = 4  # scalars in an array whose operands are a slice
_PAIRED = 16  # the same if each has a weight or a constant: NumPy's loops are short
_GATHERED = 32  # the same if the operands must be gathered for each sample
_TERMS = 8  # in all sums of a group
_REUSE = 2  # products for each scalar that is copied into an array
_DENSITY = 1 / 100  # of the terms in matrices with zeros
_LONE = 5  # functions saved for each element that is read singly

Names = frozenset[str]
_VIEWS = (index, reshape, transpose)
_NO_ARRAY = -1, 0


class Grouping:
    """The arrays that a graph's scalars are put into.

    An array's number is its node's; vectors of weights and groups have higher numbers.

    Attributes:
        graph: the graph.
        sums: its sums.
        vectors: the names of scalar weights that are successive elements of a
            GradientVector, by the number of their vector.
        at: the array and the index of each scalar that is in one.
        levels: for each level the nodes, without the intermediate nodes of sums, and
            the groups with the numbers of their arrays.
        grouped: the scalars that groups compute.
        stacked: the scalars that are copied into arrays.
    """

    def __init__(self, graph: FlowGraph, frozen: Names, *, filled: bool) -> None:
        self.graph = graph
        self.sums = Sums(graph)
        self.vectors: dict[int, tuple[str, ...]] = {}
        self.at: dict[int, tuple[int, int]] = {}
        self.levels: list[tuple[list[int], list[tuple[int, Group]]]] = []
        self.grouped: set[int] = set()
        self.stacked: set[int] = set()
        self._passed = surely_reached(graph) if filled else set()
        self._next = len(graph.nodes)
        self._find_weights(frozen)
        self._find_elements()
        for numbers in self._nodes_of_levels():
            self.levels.append((numbers, []))
            self._group_sums([i for i in numbers if i in self.sums.terms])
            self._group_maps([i for i in numbers if self._is_mapped(i)])

    def pays(self) -> bool:
        """Return whether the groups save more than reading single elements costs.

        Reading them is slow, because an array has the elements of one sample together.
        """
        replaced = set(self.grouped)
        for number in self.grouped:
            replaced.update(self.sums.inner.get(number, ()))
        made = {array for _, groups in self.levels for array, _ in groups}
        lone = sum(
            self.at.get(i, _NO_ARRAY)[0] in made
            for number, node in enumerate(self.graph.nodes)
            if number not in replaced and node.function not in _VIEWS
            for i in node.inputs
        )
        return len(replaced) > _LONE * lone

    def _find_weights(self, frozen: Names) -> None:
        """Make vectors of scalar weights that are adjacent in a GradientVector."""
        graph, specs = self.graph, self.graph.specs
        ordered = sorted(graph.weights)
        runs = groupby(ordered, lambda name: (specs[name].shape, name in frozen))
        for (shape, _), names in runs:
            if shape == ():
                self._next += 1
                self.vectors[self._next] = tuple(names)
                for i, name in enumerate(self.vectors[self._next]):
                    self.at[graph.weights[name]] = self._next, i

    def _find_elements(self) -> None:
        """Find the scalars that are elements of the graph's arrays."""
        found: dict[int, tuple[int, Indices]] = {}
        for number, node in enumerate(self.graph.nodes):
            if node.function not in _VIEWS:
                continue
            (i,) = node.inputs
            if i not in found:
                whole = self.graph.nodes[i].shape
                found[i] = i, np.arange(math.prod(whole)).reshape(whole)
            array, indices = found[i]
            indices = np.asarray(node.function.value(indices, **node.keywords))
            found[number] = array, indices
            if indices.shape == () and self.graph.nodes[array].shape != ():
                self.at[number] = array, int(indices)

    def _nodes_of_levels(self) -> list[list[int]]:
        inner = {i for steps in self.sums.inner.values() for i in steps}
        depth: list[int] = []
        levels: list[list[int]] = []
        for number, node in enumerate(self.graph.nodes):
            below = max((depth[i] for i in node.inputs), default=-1)
            depth.append(below if number in inner else below + 1)
            if number not in inner:
                if depth[number] == len(levels):
                    levels.append([])
                levels[depth[number]].append(number)
        return levels

    def _add(self, group: Group) -> int:
        """Add a group; return its array's number."""
        self._next += 1
        self.levels[-1][1].append((self._next, group))
        for i, member in enumerate(group.members):
            self.at[member] = self._next, i
        found = self.stacked if isinstance(group, Stacked) else self.grouped
        found.update(group.members)
        return self._next

    def _home(self, number: int) -> Hashable:
        """Return the array that a scalar is in, or a unique value if it is in none."""
        if self.graph.nodes[number].constant is not None:
            return "constants"
        return self.at[number][0] if number in self.at else (number,)

    # Elementwise functions

    def _is_mapped(self, number: int) -> bool:
        function = self.graph.nodes[number].function
        return (
            function.shape is broadcast_shape
            and self.graph.nodes[number].shape == ()
            and number not in self.grouped
        )

    def _group_maps(self, numbers: Sequence[int]) -> None:
        alike: dict[Hashable, list[int]] = {}
        for number in numbers:
            node = self.graph.nodes[number]
            kind = node.function, node.params, node.kind, node.dtype
            key = *kind, *map(self._home, node.inputs)
            alike.setdefault(key, []).append(number)
        for members in alike.values():
            rows = [self.graph.nodes[i].inputs for i in members]
            columns = tuple(zip(*rows, strict=True))
            if len(members) >= max(map(self._width, columns)):
                self._add(Mapped(tuple(members), columns))

    def _width(self, column: Sequence[int]) -> int:
        """Return how many scalars make an array of one of their inputs worthwhile."""
        if len(set(column)) == 1:
            return _WIDTH
        if self.graph.nodes[column[0]].kind is Kind.WEIGHTS:
            return _PAIRED
        indices = np.array([self.at[i][1] for i in column])
        return _WIDTH if evenly(indices) else _GATHERED

    # Sums

    def _group_sums(self, numbers: Sequence[int]) -> None:
        """Group sums by whole slices, by weights, by values, and by counts."""
        for key in (self._slices, self._are_weighted, self._values, self._counts):
            alike: dict[Hashable, list[int]] = {}
            for number in numbers:
                alike.setdefault(key(number), []).append(number)
            rest = alike.pop(None, [])
            for members in alike.values():
                if not self._add_sums(members):
                    rest += members
            numbers = sorted(rest)

    def _slices(self, number: int) -> Hashable:
        """Return a sum's values if they are whole slices of arrays, else ``None``."""
        indices: dict[int, list[int]] = {}
        for term in self.sums.terms[number]:
            if term.value is not None:
                array, i = self.at.get(term.value, _NO_ARRAY)
                indices.setdefault(array, []).append(i)
        slices = -1 not in indices and all(
            evenly(np.array(sorted(each))) for each in indices.values()
        )
        return self._values(number) if slices else None

    def _values(self, number: int) -> Hashable:
        terms = self.sums.terms[number]
        return tuple(sorted(term.value for term in terms if term.value is not None))

    def _are_weighted(self, number: int) -> Hashable:
        return all(map(self._is_weighted, self.sums.terms[number])) or None

    def _is_weighted(self, term: Term) -> bool:
        """Return whether a term's factor is a weight."""
        if term.factor is None:
            return False
        array, _ = self.at.get(term.factor, _NO_ARRAY)
        if array in self.vectors:
            return True
        nodes = self.graph.nodes
        return 0 <= array < len(nodes) and nodes[array].function is WEIGHT

    def _counts(self, number: int) -> Hashable:
        """Return how many terms a sum has from each array."""
        counts: dict[Hashable, int] = {}
        for term in self.sums.terms[number]:
            home = None if term.value is None else self._home(term.value)
            counts[home] = counts.get(home, 0) + 1
        return frozenset(counts.items())

    def _add_sums(self, members: Sequence[int]) -> bool:
        """Add sums as one group, if that pays."""
        # Sums that one function reads become adjacent elements.
        members = sorted(members, key=lambda i: (self._reader(i), i))
        loose: dict[int, int] = {}
        reads = products = 0
        biases: list[tuple[int, Term]] = []
        by_array: dict[int, list[tuple[int, int, Term]]] = {}
        for row, number in enumerate(members):
            for term in self.sums.terms[number]:
                if term.value is None:
                    biases.append((row, term))
                    continue
                reads += 1
                array, i = self.at.get(term.value, _NO_ARRAY)
                if array < 0:
                    i = loose.setdefault(term.value, len(loose))
                    products += term.factor is not None
                by_array.setdefault(array, []).append((row, i, term))
        if reads + len(biases) < _TERMS or products < _REUSE * len(loose):
            return False
        found = [self._part(members, *each) for each in sorted(by_array.items())]
        parts = [part for part in found if part is not None]
        area = sum(part.area(len(members)) for part in parts)
        if len(parts) < len(found) or reads < _DENSITY * area:
            return False
        if loose:  # their part is the first
            stack = self._add(Stacked(tuple(loose)))
            parts[0] = Part(stack, parts[0].read, parts[0].terms, parts[0].cells)
        self._add(Summed(tuple(members), tuple(parts), tuple(biases)))
        return True

    def _reader(self, number: int) -> str:
        reader = self.sums.reader.get(number)
        return "" if reader is None else self.graph.nodes[reader].function.name

    def _part(
        self,
        members: Sequence[int],
        array: int,
        entries: Sequence[tuple[int, int, Term]],
    ) -> Part | None:
        """Return how sums read an array; ``None`` if that cannot pay.

        A matrix with zeros in it is used only for weights, and for sums that adjoints
        reach:
        see `vectorise`.
        """
        rows = len(members)
        row = np.array([row for row, _, _ in entries])
        indices = np.array([i for _, i, _ in entries])
        terms = tuple(term for _, _, term in entries)
        if len(entries) == rows > 1 and np.array_equal(row, np.arange(rows)):
            bare = all(term.factor is None for term in terms)
            least = (_WIDTH if bare else _PAIRED) if evenly(indices) else _GATHERED
            return Part(array, indices, terms, None) if rows >= least else None
        read, column = np.unique(indices, return_inverse=True)
        cells = row * len(read) + column
        order = np.argsort(cells, kind="stable")
        full = len(np.unique(cells)) == rows * len(read)
        filled = self._passed.issuperset(members)
        if full or (filled and all(map(self._is_weighted, terms))):
            return Part(array, read, tuple(terms[i] for i in order), cells[order])
        return None
