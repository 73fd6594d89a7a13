"""Which scalars of a graph can be elements of one array: found level by level.

Scalars of one level that apply one function to scalars that lie together become one
application to arrays; sums of products become one product of a matrix and an array.
What would cost more to bring together than it saves stays as it is. Everything here is
decided by the graph alone, in the order of its nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.sums import Sums, Term
from dtrain.functions import shape as shapes
from dtrain.functions.base import Kind, broadcast_shape
from dtrain.program.graph import WEIGHT, FlowGraph

# Measured on irregular layers (docs/performance.md).
_WIDTH = 4  # scalars in an array whose operands lie together
_GATHERED = 16  # if the operands have to be gathered for each sample
_EDGES = 16  # products in a group of sums
_DENSITY = 1 / 16  # of a matrix that is filled up with zeros
_REUSE = 4  # products for each scalar that is put into an array for them

_VIEWS = (shapes.index, shapes.reshape, shapes.transpose)
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Stacked:
    """Scalars that are nowhere together, copied into one array."""

    members: tuple[int, ...]


@dataclass(frozen=True)
class Mapped:
    """One elementwise function of the members' inputs, one column for each argument."""

    members: tuple[int, ...]
    columns: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Part:
    """What the sums of a group read from one array.

    Attributes:
        array: its number.
        read: the places read; one for each member, or those of a matrix's columns.
        terms: the terms, by members.
        cells: where in the matrix, in C order, the factor of each term is; ``None``
            where each member has one term.
    """

    array: int
    read: Places
    terms: tuple[Term, ...]
    cells: Places | None


@dataclass(frozen=True)
class Summed:
    """Sums, part by part; and for each bias its member's place and its term."""

    members: tuple[int, ...]
    parts: tuple[Part, ...]
    biases: tuple[tuple[int, Term], ...]


Group = Stacked | Mapped | Summed


@dataclass
class Groups:
    """The arrays that a graph's scalars are put into.

    An array has a number: that of its node, where the graph has it as one, and
    further numbers for vectors of scalar weights and for the groups.

    Attributes:
        graph: the graph.
        filled: whether a matrix of weights may be filled up with zeros.
        sums: the graph's sums.
        scalars: the names of the scalar weights that are successive elements of the
            GradientVector, by the number of the vector that they make.
        at: the array and the place of each scalar that is in one.
        levels: the groups by level, with the number of the array that each makes.
        grouped: the scalars that a group computes.
        stacked: the scalars that are by themselves, and copied into an array, too.
    """

    graph: FlowGraph
    filled: bool
    sums: Sums = field(init=False)
    scalars: dict[int, tuple[str, ...]] = field(default_factory=dict)
    at: dict[int, tuple[int, int]] = field(default_factory=dict)
    levels: list[list[tuple[int, Group]]] = field(default_factory=list)
    grouped: set[int] = field(default_factory=set)
    stacked: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        graph = self.graph
        self.sums = Sums(graph)
        self._next = len(graph.nodes)
        self._find_scalars()
        self._find_elements()
        self.nodes_of_levels = self._nodes_of_levels()
        for numbers in self.nodes_of_levels:
            self.levels.append([])
            self._group_sums([i for i in numbers if i in self.sums.terms])
            self._group_maps([i for i in numbers if self._is_mapped(i)])

    def _find_scalars(self) -> None:
        """Put scalar weights that lie together in the GradientVector into vectors."""
        graph = self.graph
        runs = groupby(sorted(graph.weights), lambda name: graph.specs[name].shape)
        for shape, names in runs:
            if shape == ():
                self._next += 1
                self.scalars[self._next] = tuple(names)
                for place, name in enumerate(self.scalars[self._next]):
                    self.at[graph.weights[name]] = self._next, place

    def _find_elements(self) -> None:
        """Find the scalars that are elements of arrays that the graph has."""
        found: dict[int, tuple[int, Places]] = {}
        for number, node in enumerate(self.graph.nodes):
            if node.function not in _VIEWS:
                continue
            (i,) = node.inputs
            if i not in found:
                shape = self.graph.nodes[i].shape
                found[i] = i, np.arange(math.prod(shape)).reshape(shape)
            array, places = found[i]
            places = np.asarray(node.function.value(places, **node.keywords))
            found[number] = array, places
            if places.shape == () and self.graph.nodes[array].shape != ():
                self.at[number] = array, int(places)

    def _nodes_of_levels(self) -> list[list[int]]:
        """The nodes by level, where a whole sum is one step; without inner nodes."""
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
        """Enter a group; return its array's number."""
        self._next += 1
        self.levels[-1].append((self._next, group))
        for place, member in enumerate(group.members):
            self.at[member] = self._next, place
        found = self.stacked if isinstance(group, Stacked) else self.grouped
        found.update(group.members)
        return self._next

    # Elementwise functions

    def _is_mapped(self, number: int) -> bool:
        node = self.graph.nodes[number]
        return (
            node.shape == ()
            and bool(node.inputs)
            and node.function.shape is broadcast_shape
            and number not in self.grouped
            and number not in self.at
        )

    def _group_maps(self, numbers: Sequence[int]) -> None:
        for members in _buckets(numbers, self._map_key):
            rows = [self.graph.nodes[i].inputs for i in members]
            columns = tuple(zip(*rows, strict=True))
            together = all(self._together(column) for column in columns)
            if len(members) >= (_WIDTH if together else _GATHERED):
                self._add(Mapped(members, columns))

    def _map_key(self, number: int) -> Hashable:
        """What the scalars of one group have in common."""
        node = self.graph.nodes[number]
        kind = node.kind, node.dtype
        return node.function, node.params, kind, *map(self._home, node.inputs)

    def _home(self, number: int) -> Hashable:
        """The array that a scalar is in; one that is in none is alone."""
        if self.graph.nodes[number].constant is not None:
            return "constants"
        return self.at[number][0] if number in self.at else (number,)

    def _together(self, column: Sequence[int]) -> bool:
        """Whether scalars can be read as an array without copying for each sample."""
        first = self.graph.nodes[column[0]]
        if first.kind is Kind.WEIGHTS or len(set(column)) == 1:
            return True
        return evenly(np.array([self.at[i][1] for i in column]))

    # Sums

    def _group_sums(self, numbers: Sequence[int]) -> None:
        """Group sums: those of the same values, those of weights, those alike."""
        for key in (self._values, self._are_weighted, self._counts):
            rest: list[int] = []
            for members in _buckets(numbers, key):
                if not self._add_sums(members):
                    rest += members
            numbers = sorted(rest)

    def _values(self, number: int) -> Hashable:
        terms = self.sums.terms[number]
        return tuple(sorted(term.value for term in terms if term.value is not None))

    def _are_weighted(self, number: int) -> Hashable:
        return all(map(self._is_weighted, self.sums.terms[number]))

    def _is_weighted(self, term: Term) -> bool:
        """Whether a term's factor is a weight."""
        if term.factor is None or term.factor not in self.at:
            return False
        array = self.at[term.factor][0]
        return array in self.scalars or self.graph.nodes[array].function is WEIGHT

    def _counts(self, number: int) -> Hashable:
        """How many terms a sum has from each array."""
        counts: dict[Hashable, int] = {}
        for term in self.sums.terms[number]:
            home = None if term.value is None else self._home(term.value)
            counts[home] = counts.get(home, 0) + 1
        return frozenset(counts.items())

    def _add_sums(self, members: Sequence[int]) -> bool:
        """Enter sums as one group, if that is worth it."""
        terms = [(i, t) for i in members for t in self.sums.terms[i]]
        loose = dict.fromkeys(
            t.value for _, t in terms if t.value is not None and t.value not in self.at
        )
        read = sum(t.value in loose for _, t in terms)
        if len(terms) < _EDGES or read < _REUSE * len(loose):
            return False
        places = {value: place for place, value in enumerate(loose)}
        # Those that one function reads lie together for it.
        members = sorted(members, key=lambda i: (self._reader(i), i))
        row = {number: place for place, number in enumerate(members)}
        by_array: dict[int, list[tuple[int, int, Term]]] = {}
        biases = []
        for number in members:
            for term in self.sums.terms[number]:
                if term.value is None:
                    biases.append((row[number], term))
                    continue
                array, place = self.at.get(term.value, (-1, places.get(term.value, 0)))
                by_array.setdefault(array, []).append((row[number], place, term))
        parts = []
        for array, entries in sorted(by_array.items()):
            part = self._part(len(members), array, entries)
            if part is None:
                return False
            parts.append(part)
        if loose:
            stack = self._add(Stacked(tuple(loose)))
            parts[0] = Part(stack, parts[0].read, parts[0].terms, parts[0].cells)
        self._add(Summed(tuple(members), tuple(parts), tuple(biases)))
        return True

    def _reader(self, number: int) -> str:
        reader = self.sums.reader.get(number)
        return "" if reader is None else self.graph.nodes[reader].function.name

    def _part(
        self, rows: int, array: int, entries: Sequence[tuple[int, int, Term]]
    ) -> Part | None:
        """How the sums read an array, if there is a way that is worth it."""
        row = np.array([r for r, _, _ in entries])
        place = np.array([p for _, p, _ in entries])
        terms = tuple(term for _, _, term in entries)
        if len(entries) == rows and np.array_equal(row, np.arange(rows)) and rows > 1:
            if rows < (_WIDTH if evenly(place) else _GATHERED):
                return None
            return Part(array, place, terms, None)
        read, column = np.unique(place, return_inverse=True)
        cells = row * len(read) + column
        full = len(np.unique(cells)) == rows * len(read) == len(entries)
        if full or (
            self.filled
            and len(entries) >= _DENSITY * rows * len(read)
            and all(map(self._is_weighted, terms))
        ):
            return Part(array, read, terms, cells)
        return None


def evenly(places: Places) -> bool:
    """Whether places are at one distance, in ascending order: then they are a slice."""
    steps = np.diff(places)
    return not len(steps) or (steps[0] > 0 and bool(np.all(steps == steps[0])))


def _buckets(
    numbers: Iterable[int], key: Callable[[int], Hashable]
) -> list[tuple[int, ...]]:
    """Numbers of one key together, in the order in which keys appear."""
    buckets: dict[Hashable, list[int]] = {}
    for number in numbers:
        buckets.setdefault(key(number), []).append(number)
    return [tuple(bucket) for bucket in buckets.values()]
