"""A symbol stands for a value while a program is traced.

It implements NumPy's protocols (NEP 13 and NEP 18), so a program is plain NumPy. An
operation that cannot be traced raises an error with the user's line and the remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Protocol

import numpy as np

from dtrain.errors import ProgramError
from dtrain.functions import gather, shape
from dtrain.functions.base import ADAPTERS, UFUNCS, BaseFunction, Shape, is_truth
from dtrain.functions.fourier import Complex
from dtrain.functions.keywords import MEMORY, WITHOUT_MEANING, arguments, same
from dtrain.functions.special import of_scipy
from dtrain.functions.unsupported import REFUSED
from dtrain.tracing.methods import ArrayMethods
from dtrain.tracing.node import Node
from dtrain.tracing.source import Source, called

_ADD = (
    "write it with the functions there are, or make it a base function with its own "
    "`@dtrain.base_function(shape=..., vjp=...)`"
)
_REDUCTIONS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: np.sum,
    np.multiply: np.prod,
    np.maximum: np.max,
    np.minimum: np.min,
}
_SCANS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: np.cumsum,
    np.multiply: np.cumprod,
}
# For booleans NumPy's + is a logical or, and its - is an error.
_OF_TRUTHS: dict[Callable[..., Any], Callable[..., Any]] = {
    np.add: np.logical_or,
    np.multiply: np.logical_and,
    np.maximum: np.logical_or,
    np.minimum: np.logical_and,
}
_NOT_OF_TRUTHS = {
    *(np.subtract, np.negative, np.positive, np.matmul, np.vecdot),
    *(np.dot, np.inner, np.vdot, np.outer, np.kron, np.tensordot, np.einsum, np.diff),
}
_OF_TRUTHS_ALONE = {np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert}
_OF_UFUNCS = {"where": True}  # the defaults that are not None
_IN_LAYERS = ("softmax", "log_softmax", "logsumexp")  # no ufuncs of SciPy's
_VIEWS = (shape.reshape, shape.transpose, shape.broadcast, shape.index)
_QUESTIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    np.shape: lambda x: x.shape,
    np.ndim: lambda x: x.ndim,
    np.size: lambda x, axis=None: x.size if axis is None else x.shape[axis],
}


class Emitter(Protocol):
    """The methods of a builder that symbols use."""

    nodes: list[Node]
    source: Source | None
    through: Node | None

    def symbol(self, x: Any) -> Symbol:
        """Return a symbol for a symbol, an array or a number."""

    def constant(self, value: Any) -> Symbol:
        """Return a symbol for a number or array in the program."""

    def apply(
        self, function: BaseFunction, xs: Sequence[Any], params: Mapping[str, Any]
    ) -> Symbol:
        """Return the value of a base function."""

    def shape_of(
        self, function: BaseFunction, shapes: Sequence[Shape], params: Mapping[str, Any]
    ) -> Shape:
        """Return the shape of a function's value."""

    def error(self, message: str) -> ProgramError:
        """Return an error about the user's current line."""


def _called(nodes: Sequence[Node], number: int) -> str:
    """Return a node's label: its name, its number, or the value of a scalar."""
    node = nodes[number]
    if node.constant is not None and node.shape == ():
        return f"{node.constant:.6g}"
    return node.name or str(number)


class Symbol(ArrayMethods):
    """A node of a flow graph under construction, to compute with."""

    __slots__ = ("builder", "number")
    __hash__ = object.__hash__

    def __init__(self, builder: Emitter, number: int) -> None:
        self.builder = builder
        self.number = number

    @property
    def node(self) -> Node:
        """The node that the symbol stands for."""
        return self.builder.nodes[self.number]

    def __repr__(self) -> str:
        """Return the node's name or number, function, inputs and shape."""
        node = self.node
        xs = ", ".join(_called(self.builder.nodes, i) for i in node.inputs)
        made = f" = {node.function.name}({xs})" if xs else f", {node.function.name}"
        return (
            f"<Symbol {_called(self.builder.nodes, self.number)}{made}, {node.shape}>"
        )

    @property
    def shape(self) -> Shape:
        """The value's shape, for one sample."""
        return self.node.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.node.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.node.shape, dtype=int))

    def __dtrain_apply__(
        self, function: BaseFunction, xs: Sequence[Any], params: Mapping[str, Any]
    ) -> Symbol:
        return self.builder.apply(function, xs, params)

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *xs: Any, **keywords: Any
    ) -> Any:
        if Complex in map(type, xs):
            return NotImplemented
        name = ufunc.__name__  # which may be SciPy's
        name = f"np.{name}" if getattr(np, name, None) is ufunc else name
        if any(x is not None for x in keywords.pop("out", ())):
            self._refuse(
                f"{name} is to write into an array; a traced program has no arrays to "
                "write into: use its result (`a = a + b`, not `a += b`)"
            )
        function = UFUNCS.get(ufunc) or of_scipy(ufunc)
        if method == "__call__" and function is not None:
            for keyword, value in keywords.items():
                if keyword not in MEMORY and not same(value, _OF_UFUNCS.get(keyword)):
                    self._refuse(
                        f"{name} with {keyword}=: {WITHOUT_MEANING.get(keyword, _ADD)}"
                    )
            if all(map(is_truth, xs)):
                self._check_truths(name, ufunc)
                function = _OF_TRUTHS.get(ufunc, function)
            elif ufunc in _OF_TRUTHS_ALONE:
                self._refuse(f"{name} takes truth values alone, such as x > 0")
            return self._adapted(name, function, xs, {})
        if method == "outer" and ufunc.nin == 2 and function is not None:
            a, b = (self.builder.symbol(x) for x in xs)
            return ufunc(a.reshape(a.shape + (1,) * b.ndim), b, **keywords)
        for of, table in (("reduce", _REDUCTIONS), ("accumulate", _SCANS)):
            if method == of and ufunc in table:
                return table[ufunc](*xs, **{"axis": 0, **keywords})
        more = "" if method == "__call__" else f".{method}"
        return self._unknown(name + more)

    def __array_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...],
        keywords: dict[str, Any],
    ) -> Any:
        if function in _QUESTIONS:
            return _QUESTIONS[function](*args, **keywords)
        name = f"{function.__module__}.{function.__name__}".replace("numpy", "np")
        if function not in ADAPTERS:
            self._unknown(name)
        if function is np.nan_to_num and False in (*args[1:2], keywords.get("copy")):
            self._refuse(
                f"{name} with copy=False is to write into an array; use its result, "
                "without copy"
            )
        parts = [x for x in args if isinstance(x, Symbol | np.ndarray)]
        if parts and all(map(is_truth, parts)):
            self._check_truths(name, function)
        try:
            args, keywords = arguments(function, ADAPTERS[function], args, keywords)
        except (TypeError, ValueError) as error:
            self._refuse(f"{name}: {error}")
        return self._adapted(name, ADAPTERS[function], args, keywords)

    def _unknown(self, name: str) -> NoReturn:
        reason = f" ({REFUSED[name]})" if name in REFUSED else ""
        self._refuse(f"{name} is not in the table of functions{reason}: {_ADD}")

    def _check_truths(self, name: str, function: Callable[..., Any]) -> None:
        if function in _NOT_OF_TRUTHS:
            self._refuse(
                f"{name} of truth values alone; write `1.0 * mask` to compute with "
                "them as with numbers"
            )

    def _adapted(
        self,
        name: str,
        function: Callable[..., Any],
        args: Sequence[Any],
        keywords: Mapping[str, Any],
    ) -> Any:
        try:
            return function(*args, **keywords)
        except ProgramError:
            raise
        except (TypeError, ValueError, IndexError) as error:
            shapes = [str(x.shape) for x in args if isinstance(x, Symbol | np.ndarray)]
            of = f" of shape{'s' * (len(shapes) > 1)} {' and '.join(shapes)}"
            # Python names a function that lacks a keyword as it is called in here.
            inner = getattr(function, "__qualname__", name)
            reason = str(error).replace(f"{inner}()", f"{name} as traced")
            raise self.builder.error(
                f"{name}{of if shapes else ''}: {reason}"
            ) from None

    def _refuse(self, message: str) -> NoReturn:
        raise self.builder.error(message)

    # Indexing

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        parts = [p for k in keys for p in (k if isinstance(k, list) else [k])]
        symbols = [part for part in parts if isinstance(part, Symbol)]
        if not symbols:
            return self._adapted("indexing", shape.getitem, (self, key), {})
        lists = [part for each in keys if isinstance(each, list) for part in each]
        if any(isinstance(part, Symbol) for part in lists):
            self._refuse(
                "a list with an index from the data; use np.stack to put indices "
                "into an array, or index twice"
            )
        return self._adapted("indexing", gather.getitem, (self, keys), {})

    def __dtrain_index__(self) -> Any:
        """Return the symbol as an index, if its values are integers."""
        if self.node.dtype == "bool":
            self._refuse(
                "a mask depends on the data, and so would the shape of what it picks; "
                "the flow graph is fixed before the data is seen: use np.where"
            )
        index = inner = self.builder.symbol(gather.integer(self))
        while inner.node.function in _VIEWS:
            inner = Symbol(self.builder, inner.node.inputs[0])
        if inner.node.function is gather.integer and self.node.dtype != "int":
            inner = Symbol(self.builder, inner.node.inputs[0])
            if inner.node.inputs or inner.node.function.name == "weight":
                self._refuse(
                    "an index is computed in numbers that are no integers; round it "
                    "and say so with .astype(int)"
                )
        return index

    def __len__(self) -> int:
        if not self.shape:
            self._refuse("a value without axes has no len()")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            self._refuse("a value without axes cannot be iterated over or unpacked")
        return iter([self[i] for i in range(self.shape[0])])

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        function = called("scipy.")
        if function.startswith("scipy.sparse."):
            self._refuse(
                "a matrix of scipy.sparse computes with arrays alone, not with a value "
                "that depends on the data: use its .toarray()"
            )
        if function:
            name = function.rpartition(".")[2]
            instead = f"use dtrain.layers.{name}" if name in _IN_LAYERS else _ADD
            self._refuse(f"{function} is not traced: {instead}")
        self._refuse(
            "an array is to be made of a value that depends on the data: use np.stack "
            "or np.concatenate, not np.array or a list; to read an array known when "
            'traced at places from the data, name it: `named(table, "table")[i]`'
        )

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and hasattr(np.ndarray, name):
            self._refuse(f"an array's .{name} is not traced: {_ADD}")
        raise AttributeError(name)
