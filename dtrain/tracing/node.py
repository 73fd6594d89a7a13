"""A node of a flow graph, and the leaves: inputs, weights, constants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dtrain.functions.base import BaseFunction, DType, Kind, Shape, constant
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
    """An array that compares and hashes by content."""

    dtype: str
    shape: Shape
    content: bytes

    @classmethod
    def of(cls, value: NDArray[Any]) -> Constant:
        """Return a constant with an array's shape, dtype and bytes."""
        return cls(value.dtype.str, value.shape, value.tobytes())

    @cached_property
    def value(self) -> NDArray[Any]:
        """The array, read-only."""
        return np.frombuffer(self.content, self.dtype).reshape(self.shape)


# Array types whose operators differ from ndarray's, and what to use instead. They are
# named by text because importing np.ma is slow.
_INSTEAD = {
    "matrix": ": its * is a matrix product; use np.asarray and @",
    "MaskedArray": ": masks are not traced; use np.where",
}


def as_array(value: Any) -> NDArray[Any]:
    """Return a value written in a program as a constant's array.

    Raises:
        TypeError: the value is not an array or a number to compute with.
    """
    kind = type(value).__name__
    try:
        if kind in _INSTEAD:
            raise TypeError
        if isinstance(value, int) and not isinstance(value, bool):
            value = float(value)  # NumPy has no integers of unlimited size
        return constant(value)
    except OverflowError:
        raise TypeError("an int is too large for a floating-point number") from None
    except (TypeError, ValueError):
        instead = _INSTEAD.get(kind, "")
        if hasattr(value, "toarray"):  # of scipy.sparse
            instead = ": use its .toarray()"
        raise TypeError(
            f"a {kind} is no value that a program can compute with{instead}"
        ) from None


@dataclass(frozen=True)
class Bounds:
    """Between which numbers a weight stays; false if it has no bounds.

    Attributes:
        lower: an array that broadcasts to the weight's shape, or ``None``.
        upper: the same.
    """

    lower: Constant | None = None
    upper: Constant | None = None

    def __bool__(self) -> bool:
        """Return whether there is a bound."""
        return self.lower is not None or self.upper is not None


@dataclass(frozen=True)
class WeightSpec:
    """A weight, as the line that first names it states it."""

    name: str
    shape: Shape
    initializer: Initializer
    source: Source
    bounds: Bounds = Bounds()


@dataclass(frozen=True, eq=False)
class Node:
    """One point of the flow graph: a base function applied to earlier nodes.

    Attributes:
        function: the base function, or one of the leaves.
        inputs: the numbers of the nodes that the function is applied to.
        params: keyword arguments of the function, by name.
        shape: the value's shape for one sample.
        kind: whether it varies by sample, by block, or with the weights alone.
        dtype: real, bool or int.
        source: the user's line that made the node.
        name: a name that the user or the program gave it.
        through: the node whose transfer function it belongs to; ``None`` in the
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
        """Function, wiring, parameters, and a leaf's name; equal for equal nodes."""
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


class Wiring(Protocol):
    """The nodes, leaves and outputs of a flow graph."""

    @property
    def name(self) -> str:
        """The program's name."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes in topological order."""

    @property
    def inputs(self) -> Mapping[str, int]:
        """Node numbers of the inputs, by name."""

    @property
    def specs(self) -> Mapping[str, WeightSpec]:
        """Shape and initialiser of each weight, by name."""

    @property
    def outputs(self) -> Mapping[str, int]:
        """Node numbers of the outputs, by name."""

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Node numbers by level."""


def first_weight(node: Node) -> str:
    """Return the name of a weight, or of the first in a vector of scalar weights.

    The others follow it, because a layout sorts weights by name.
    """
    name: str = node.keywords.get("names", (node.name,))[0]
    return name
