"""The flow graph of a program: immutable data, nodes in one topological order.

A node comes after its inputs, in the order in which the program made them (lecture,
"Parameterized program as flow graph"). Every rank gets the same order, because nothing
here depends on sets or addresses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.functions.base import FUNCTIONS, BaseFunction, DType, Kind, Shape
from dtrain.tracing.initializers import Initializer
from dtrain.tracing.source import Source


def _leaf(name: str, doc: str) -> BaseFunction:
    return BaseFunction(name=name, value=_no_value, shape=tuple, doc=doc)


def _no_value(*_: Any) -> Any:
    raise TypeError("a leaf of a flow graph has no inputs to compute it from")


INPUT = _leaf("input", "A value of one sample, given from outside.")
WEIGHT = _leaf("weight", "A parameter of the program.")
SCALARS = _leaf("scalars", "Scalar weights with successive names, in one vector.")
CONSTANT = _leaf("constant", "A value written in the program.")


@dataclass(frozen=True)
class Constant:
    """An array that compares and hashes by its content."""

    dtype: str
    shape: Shape
    content: bytes

    @classmethod
    def of(cls, value: NDArray[Any]) -> Constant:
        """Freeze an array."""
        return cls(value.dtype.str, value.shape, value.tobytes())

    @cached_property
    def value(self) -> NDArray[Any]:
        """The array, read-only."""
        return np.frombuffer(self.content, self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class WeightSpec:
    """A weight: its name, shape, initialiser and the line that first named it."""

    name: str
    shape: Shape
    initializer: Initializer
    source: Source


@dataclass(frozen=True, eq=False)
class Node:
    """One point of the flow graph: a base function applied to earlier nodes.

    Attributes:
        function: the base function, or one of the leaves.
        inputs: the numbers of the nodes it is applied to.
        params: keyword arguments of the function, by name.
        shape: the value's shape for one sample.
        kind: whether it varies by sample, by block, or with the weights alone.
        dtype: real, bool or int.
        source: the user's line that made it.
        name: a name that the user or the program gave it.
        through: the node whose transfer function it is a part of; ``None`` in the
            forward graph.
    """

    function: BaseFunction
    inputs: tuple[int, ...]
    params: tuple[tuple[str, Any], ...]
    shape: Shape
    kind: Kind
    dtype: DType
    source: Source
    name: str | None = None
    through: Node | None = field(default=None, repr=False)

    @property
    def keywords(self) -> dict[str, Any]:
        """The parameters as keyword arguments."""
        return dict(self.params)

    @property
    def identity(self) -> bytes:
        """What makes it what it is: function, wiring, values, and a leaf's name."""
        params: Iterable[Any] = self.params
        content = b""
        if self.function is CONSTANT:
            value = self.params[0][1]
            content = value.content
            params = (value.dtype, value.shape)
        label = self.name if self.function in (INPUT, WEIGHT, SCALARS) else None
        name = self.function.name + self.function.code
        fields = (name, label, self.inputs, *params, self.shape)
        return content + repr(fields).encode() + b"\0"

    @property
    def constant(self) -> NDArray[Any] | None:
        """The value, if it is a constant."""
        return self.params[0][1].value if self.function is CONSTANT else None


@dataclass(frozen=True, eq=False)
class FlowGraph:
    """A program's run as data: what is computed from what.

    Attributes:
        name: the program's name.
        nodes: in topological order; a node's number is its place here.
        inputs: node numbers of the inputs, by name, in the program's order.
        weights: node numbers of the weights, by name, in order of appearance; those of
            a vector of scalars (`SCALARS`) under one name.
        specs: shape and initialiser of each weight, by name.
        outputs: node numbers of the outputs, by name.
    """

    name: str
    nodes: tuple[Node, ...]
    inputs: Mapping[str, int]
    weights: Mapping[str, int]
    specs: Mapping[str, WeightSpec]
    outputs: Mapping[str, int]

    @property
    def output(self) -> int:
        """The number of the only output's node."""
        (number,) = self.outputs.values()
        return number

    @cached_property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Node numbers by level: the leaves, then what needs only earlier levels.

        Forward propagation may run a level at once (lecture, "Execution models").
        """
        depth: list[int] = []
        for node in self.nodes:
            depth.append(1 + max((depth[i] for i in node.inputs), default=-1))
        levels: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]
        for number, level in enumerate(depth):
            levels[level].append(number)
        return tuple(map(tuple, levels))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what is computed: functions, wiring, constants, names of leaves.

        Neither file names nor lines nor the names of inner nodes enter. Functions that
        are made of others enter as what they are made of, and a user's own transfer
        function as its graph.
        """
        from dtrain.tracing.expand import expand
        from dtrain.tracing.transfer import transfer

        graph = expand(self)
        digest = hashlib.sha256()
        own: dict[Any, str] = {}  # a graph may have one function thousands of times
        for node in self.nodes:
            f = node.function
            if f.vjp is not None and FUNCTIONS.get(f.name) is not f:
                given = [self.nodes[i] for i in node.inputs]
                key = (f, node.params, *((x.shape, x.dtype) for x in given))
                if key not in own:
                    own[key] = transfer(self, node).fingerprint
                digest.update(own[key].encode())
        for node in graph.nodes:
            digest.update(node.identity)
        digest.update(repr(sorted(graph.outputs.items())).encode())
        return digest.hexdigest()

    def needed(self) -> list[bool]:
        """Which nodes some output is computed from."""
        needed = [False] * len(self.nodes)
        for number in self.outputs.values():
            needed[number] = True
        for number in range(len(self.nodes) - 1, -1, -1):
            if needed[number]:
                for i in self.nodes[number].inputs:
                    needed[i] = True
        return needed

    def __str__(self) -> str:
        """One line for each node: name or number, shape, function and inputs."""
        from dtrain.tracing.printing import lines

        return "\n".join(lines(self))
