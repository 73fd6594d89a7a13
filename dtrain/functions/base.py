"""A base function: its value, shape rule and transfer function side by side.

A program is made of base functions (lecture, "Parameterized program: running
example"). Each is one entry in one table, `FUNCTIONS`. NumPy's own functions reach the
entries through two more tables: `UFUNCS`, for ``np.tanh`` and the operators, and
`ADAPTERS`, for functions with NumPy's longer signatures, such as ``np.sum``.

Transfer functions are written in the same vocabulary as programs, on symbols: the
entry of tanh reads ``v * (1 - y * y)``. So differentiating a flow graph gives a
flow graph, and a base function works in every backend and at every order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
DType = Literal["real", "bool", "int"]
Expression = Any
"""A symbol, an array or a number: whatever a transfer function may return."""


class Cost(Enum):
    """The approximate time for an element, to decide which steps get a thread."""

    CHEAP = "an addition"
    SLOW = "a sine or exponential"
    SORT = "a comparison of many, or an index from the data"
    CUBIC = "a row of a matrix that is factorised"


class Kind(IntEnum):
    """How a value varies; the engine adds as many leading axes.

    A value of `WEIGHTS` is the same for every sample; one of `BLOCK` is a sum over a
    block of samples, one for each block of a stack; one of `SAMPLE` exists for each
    sample. A function's value varies as its most varied input does.
    """

    WEIGHTS = 0
    BLOCK = 1
    SAMPLE = 2


@dataclass(frozen=True, eq=False)
class BaseFunction:
    """One base function.

    Attributes:
        name: its name in printed graphs, unique in `FUNCTIONS`.
        value: ``value(*xs, **params)`` on the NumPy arrays of one sample; plain and
            slow, the definition that the engine's kernels are tested against.
        shape: ``shape(*shapes, **params)``, the value's shape for one sample; raises
            ``ValueError`` where the shapes do not fit.
        vjp: ``vjp(v, y, *xs, **params)``, the transfer function: given the adjoint
            ``v`` of the output ``y``, one adjoint for each input (lecture,
            "Transfer functions": v_in = Jᵀ v_out), or ``None`` for one that nothing
            passes to. An adjoint may have the output's broadcast shape: it is
            un-broadcast where it arrives. ``None`` in place of the function: nothing
            passes at all, or `definition` says what does.
        definition: the same value in terms of other base functions, on symbols.
        takes: the dtype that inputs are converted to; ``None`` leaves them.
        gives: the value's dtype; ``None`` means that of the last input.
        elementwise: whether it is one call of the NumPy ufunc ``value``, mapped.
        commutes: whether f(a, b) and f(b, a) are the same bits.
        varies: the value's kind, where it is not that of the most varied input.
        branch: which piece of a piecewise function applies, on arrays like ``value``; a
            gradient check reports differences that span two pieces.
        infix: the operator between its two inputs in printed graphs.
        cost: about how long an element takes.
        doc: one sentence, with the source where there is one.
        code: a digest of ``value`` if a user wrote it and it is not traced, so that
            ranks with different functions are detected.
    """

    name: str
    value: Callable[..., Any]
    shape: Callable[..., Shape]
    vjp: Callable[..., Sequence[Expression]] | None = None
    definition: Callable[..., Expression] | None = None
    takes: DType | None = "real"
    gives: DType | None = "real"
    elementwise: bool = False
    commutes: bool = False
    varies: Kind | None = None
    branch: Callable[..., Any] | None = None
    infix: str = ""
    cost: Cost = Cost.CHEAP
    doc: str = ""
    code: str = ""

    def __call__(self, *xs: Expression, **params: Any) -> Expression:
        """Apply the function; return a symbol if any input is one, else an array."""
        for x in xs:
            if hasattr(x, "__dtrain_apply__"):
                return x.__dtrain_apply__(self, xs, params)
        return self.value(*xs, **params)

    def kind(self, kinds: Sequence[Kind], params: dict[str, Any]) -> Kind:
        """Return how the value varies, given how the inputs do."""
        if params.get("over_block"):
            return Kind.BLOCK
        return max(kinds) if self.varies is None else self.varies

    @property
    def differentiable(self) -> bool:
        """Return whether an adjoint passes backward through the function."""
        return self.vjp is not None or self.definition is not None


FUNCTIONS: dict[str, BaseFunction] = {}
UFUNCS: dict[np.ufunc, Callable[..., Expression]] = {}
ADAPTERS: dict[Callable[..., Any], Callable[..., Expression]] = {}


def register(function: BaseFunction) -> BaseFunction:
    """Add a base function to the table; its name must be new."""
    if function.name in FUNCTIONS:
        raise ValueError(f"there already is a base function {function.name!r}")
    FUNCTIONS[function.name] = function
    return function


def elementwise(
    ufunc: np.ufunc,
    vjp: Callable[..., Sequence[Expression]] | None = None,
    *,
    takes: DType | None = "real",
    gives: DType | None = "real",
    branch: Callable[..., Any] | None = None,
    commutes: bool = False,
    infix: str = "",
    cost: Cost = Cost.CHEAP,
    doc: str,
) -> BaseFunction:
    """Register a scalar function that one NumPy ufunc applies to each element.

    Its Jacobian is diagonal (lecture, "Important special cases": map), so the
    transfer function multiplies element by element.
    """
    function = register(
        BaseFunction(
            name=ufunc.__name__,
            value=ufunc,
            shape=broadcast_shape,
            vjp=vjp,
            takes=takes,
            gives=gives,
            elementwise=True,
            commutes=commutes,
            branch=branch,
            infix=infix,
            cost=cost,
            doc=doc,
        )
    )
    UFUNCS[ufunc] = function
    return function


def adapter(*numpy_functions: Callable[..., Any]) -> Callable[..., Any]:
    """Register a function as dtrain's version of NumPy functions."""

    def enter(function: Callable[..., Expression]) -> Callable[..., Expression]:
        for numpy_function in numpy_functions:
            table = UFUNCS if isinstance(numpy_function, np.ufunc) else ADAPTERS
            table[numpy_function] = function  # type: ignore[index]
        return function

    return enter


def broadcast_shape(*shapes: Shape) -> Shape:
    """Return the shape that shapes broadcast to, or raise ``ValueError``."""
    if all(shape == shapes[0] for shape in shapes):  # NumPy takes 4 µs for this case
        return shapes[0]
    return np.broadcast_shapes(*shapes)


def is_truth(x: Expression) -> bool:
    """Return whether a symbol, an array or a number is boolean."""
    dtype = x.node.dtype if hasattr(x, "__dtrain_apply__") else np.asarray(x).dtype
    return bool(dtype == "bool")


def constant(value: Any) -> NDArray[Any]:
    """Return a constant of a program: bool, or float64 until the dtype is known."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"a constant of dtype {array.dtype}")
    return array if array.dtype.kind == "b" else array.astype(np.float64)
