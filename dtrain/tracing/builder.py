"""Emit nodes: check shapes, convert numbers, compute nothing twice.

Tracing, differentiating and expanding all emit into a builder. It looks a node up
before it makes one, and simplifies it by the rules of `dtrain.tracing.algebra`, so no
later pass is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dtrain.errors import ProgramError
from dtrain.functions.base import (
    FUNCTIONS,
    BaseFunction,
    DType,
    Kind,
    Shape,
)
from dtrain.functions.custom import as_defined, check_keywords
from dtrain.functions.piecewise import real
from dtrain.functions.shape import reshape
from dtrain.tracing import algebra
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import (
    CONSTANT,
    INPUT,
    SCALARS,
    WEIGHT,
    Constant,
    Node,
    WeightSpec,
    as_array,
)
from dtrain.tracing.pruning import prune
from dtrain.tracing.source import Source, here
from dtrain.tracing.symbol import Symbol


class Builder:
    """A flow graph under construction."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[Node] = []
        self.inputs: dict[str, int] = {}
        self.weights: dict[str, int] = {}
        self.specs: dict[str, WeightSpec] = {}
        self.names: dict[str, int] = {}
        self.ragged: dict[int, int] = {}  # an input's number: that of its lengths
        # Where nodes are made in place of others, their source is that of the others.
        self.source: Source | None = None
        # The node whose adjoint is being passed on.
        self.through: Node | None = None
        self._numbers: dict[Any, int] = {}
        self._shapes: dict[Any, Shape] = {}

    def input(self, name: str, shape: Shape, dtype: DType = "real") -> Symbol:
        """Return the symbol of an input."""
        source = self.source or here()
        symbol = self._leaf(INPUT, name, shape, Kind.SAMPLE, source, dtype)
        self.inputs[name] = symbol.number
        return symbol

    def weight(self, spec: WeightSpec) -> Symbol:
        """Return the symbol of a weight; the same name gives the same weight."""
        old = self.specs.get(spec.name)
        if old is None:
            self.specs[spec.name] = spec
            symbol = self._leaf(
                WEIGHT, spec.name, spec.shape, Kind.WEIGHTS, spec.source
            )
            if spec.bounds:  # part of the node's identity
                params = (*symbol.node.params, ("bounds", spec.bounds))
                self.nodes[symbol.number] = replace(symbol.node, params=params)
            self.weights[spec.name] = symbol.number
            return symbol
        if old.shape != spec.shape:
            raise ProgramError(
                f"{spec.source}: weight {spec.name!r} has shape {spec.shape} here, but "
                f"{old.shape} at {old.source}; one name is one shared weight: use "
                "another name, or `with scope(...)` around one of the two"
            )
        if old.initializer != spec.initializer:
            raise ProgramError(
                f"{spec.source}: weight {spec.name!r} has another initialiser here "
                f"than at {old.source}; one name is one shared weight"
            )
        if old.bounds != spec.bounds:
            raise ProgramError(
                f"{spec.source}: weight {spec.name!r} has other bounds here than at "
                f"{old.source}; one name is one shared weight"
            )
        return Symbol(self, self.weights[spec.name])

    def scalars(self, specs: Sequence[WeightSpec]) -> Symbol:
        """Return scalar weights as one vector; their sorted names are consecutive."""
        names = tuple(spec.name for spec in specs)
        self.specs.update(zip(names, specs, strict=True))
        name = f"{names[0]}..{names[-1]}"
        shape = (len(names),)
        symbol = self._leaf(SCALARS, name, shape, Kind.WEIGHTS, specs[0].source)
        params: tuple[tuple[str, Any], ...] = (("name", name), ("names", names))
        if any(spec.bounds for spec in specs):
            params += (("bounds", tuple(spec.bounds for spec in specs)),)
        self.nodes[symbol.number] = replace(symbol.node, params=params)
        self.weights[name] = symbol.number
        return symbol

    def constant(self, value: Any) -> Symbol:
        """Return a value written in the program."""
        try:
            array = as_array(value)
        except TypeError as error:
            raise self.error(str(error)) from None
        key = Constant.of(array)
        number = self._numbers.get(key)
        if number is None:
            dtype: DType = "bool" if array.dtype.kind == "b" else "real"
            number = self._add(
                Node(
                    CONSTANT,
                    (),
                    (("value", key),),
                    array.shape,
                    Kind.WEIGHTS,
                    dtype,
                    self.source or here(),
                )
            )
            self._numbers[key] = number
        return Symbol(self, number)

    def symbol(self, x: Any) -> Symbol:
        """Return a symbol for a symbol, an array or a number."""
        if not isinstance(x, Symbol):
            return self.constant(x)
        if x.builder is not self:
            raise self.error(
                "a value of another program's run is used here; pass it as an argument"
            )
        return x

    def apply(
        self, function: BaseFunction, xs: Sequence[Any], params: Mapping[str, Any]
    ) -> Symbol:
        """Apply a base function: simplify it, find an equal node, or make a new one."""
        if function is not FUNCTIONS.get(function.name):
            try:
                check_keywords(function, params)
            except TypeError as error:
                raise self.error(str(error)) from None
        symbols = [self._converted(self.symbol(x), function) for x in xs]
        simpler = algebra.simplify(self, function, symbols, params)
        return simpler if simpler is not None else self.emit(function, symbols, params)

    def emit(
        self, function: BaseFunction, xs: Sequence[Symbol], params: Mapping[str, Any]
    ) -> Symbol:
        """Return the node of a function and inputs, without simplification."""
        numbers, given = tuple(x.number for x in xs), tuple(params.items())
        key = _key(function, numbers, given)
        number = self._numbers.get(key)
        if number is None:
            nodes = [self.nodes[i] for i in numbers]
            shapes = [node.shape for node in nodes]
            try:
                shape = self.shape_of(function, shapes, params)
            except (ValueError, TypeError) as error:
                listed = " and ".join(map(str, shapes))
                raise self.error(
                    f"{function.name} of shapes {listed}: {error}"
                ) from None
            number = self._add(
                Node(
                    function=function,
                    inputs=numbers,
                    params=given,
                    shape=shape,
                    kind=function.kind([node.kind for node in nodes], dict(params)),
                    dtype=function.gives or nodes[-1].dtype,
                    source=self.source or here(),
                    through=self.through,
                )
            )
            self._numbers[key] = number
        return Symbol(self, number)

    def shape_of(
        self, function: BaseFunction, shapes: Sequence[Shape], params: Mapping[str, Any]
    ) -> Shape:
        """Return the shape of a function's value, by its rule or its definition.

        Raises:
            ValueError: if the inputs' shapes do not fit.
        """
        if function.shape is not as_defined or function.definition is None:
            return function.shape(*shapes, **params)
        key = function, *shapes, *params.items()
        if key not in self._shapes:
            inner = Builder(function.name)
            xs = [inner.input(str(i), shape) for i, shape in enumerate(shapes)]
            try:
                self._shapes[key] = np.shape(function.definition(*xs, **params))
            except ProgramError as error:
                raise ValueError(str(error)) from None
        return self._shapes[key]

    def name_node(self, x: Symbol, name: str) -> Symbol:
        """Name a node; if it has a name already, name a view of it."""
        other = self.names.get(name)
        if other is not None and other != x.number:
            raise self.error(
                f"two values are named {name!r}; the first is at "
                f"{self.nodes[other].source}"
            )
        if x.node.name not in (None, name):
            view = Node(
                function=reshape,
                inputs=(x.number,),
                params=(("shape", x.shape),),
                shape=x.shape,
                kind=x.node.kind,
                dtype=x.node.dtype,
                source=self.source or here(),
            )
            x = Symbol(self, self._add(view))
        self.nodes[x.number] = replace(x.node, name=name)
        self.names[name] = x.number
        return x

    def include(self, graph: FlowGraph) -> list[Symbol]:
        """Copy a graph's nodes into an empty builder, with equal node numbers."""
        for node in graph.nodes:
            number = self._add(node)
            if node.function is CONSTANT:
                self._numbers[node.params[0][1]] = number
            elif node.function not in (INPUT, WEIGHT, SCALARS):
                self._numbers[_key(node.function, node.inputs, node.params)] = number
            if node.name is not None:
                self.names[node.name] = number
        self.inputs.update(graph.inputs)
        self.weights.update(graph.weights)
        self.specs.update(graph.specs)
        return [Symbol(self, number) for number in range(len(self.nodes))]

    def graph(self, outputs: Mapping[str, Symbol]) -> FlowGraph:
        """Return the finished graph: inputs, weights, and what the outputs need."""
        numbers = {name: symbol.number for name, symbol in outputs.items()}
        return prune(
            FlowGraph(
                self.name,
                tuple(self.nodes),
                self.inputs,
                self.weights,
                dict(self.specs),
                numbers,
            )
        )

    def error(self, message: str) -> ProgramError:
        """Return an error about the user's current line."""
        return ProgramError(f"{self.source or here()}: {message}")

    def _leaf(
        self,
        function: BaseFunction,
        name: str,
        shape: Shape,
        kind: Kind,
        source: Source,
        dtype: DType = "real",
    ) -> Symbol:
        if name in self.names:
            other = self.nodes[self.names[name]]
            raise ProgramError(
                f"{source}: two values are named {name!r}: this {function.name}, and "
                f"the {other.function.name} of {other.source}"
            )
        params = (("name", name),)
        node = Node(function, (), params, shape, kind, dtype, source, name)
        self.names[name] = self._add(node)
        return Symbol(self, self.names[name])

    def _converted(self, x: Symbol, function: BaseFunction) -> Symbol:
        """Return an input converted to the dtype that the function takes."""
        if function.takes is None or x.node.dtype == function.takes:
            return x
        if function.takes == "bool":
            return self.symbol(np.not_equal(x, 0))
        return self.symbol(real(x))

    def _add(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1


def _key(
    function: BaseFunction, inputs: tuple[int, ...], params: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Return a node's key; equal keys mean equal bits, as for a · b and b · a."""
    return function, tuple(sorted(inputs)) if function.commutes else inputs, params
