"""Piecewise functions: choices, comparisons and logic.

At a tie the derivative is a convention. ``maximum`` and ``minimum`` pass it to the
second operand, so that relu, ``maximum(x, 0)``, has the derivative 0 at 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.functions.base import (
    BaseFunction,
    Expression,
    adapter,
    broadcast_shape,
    elementwise,
    register,
)


def _chosen(v: Expression, first: Expression) -> tuple[Expression, Expression]:
    """Pass the adjoint v to the operand that was chosen."""
    return np.where(first, v, 0), np.where(first, 0, v)


maximum = elementwise(
    np.maximum,
    lambda v, y, a, b: _chosen(v, np.greater(a, b)),
    branch=np.greater,
    doc="The larger of a and b; at a tie b has the derivative.",
)

minimum = elementwise(
    np.minimum,
    lambda v, y, a, b: _chosen(v, np.less(a, b)),
    branch=np.less,
    doc="The smaller of a and b; at a tie b has the derivative.",
)

# fmax and fmin ignore NaN, which is unequal to itself.

fmax = elementwise(
    np.fmax,
    lambda v, y, a, b: _chosen(v, np.logical_or(np.greater(a, b), np.not_equal(b, b))),
    branch=np.greater,
    doc="The larger of a and b, ignoring NaN; at a tie b has the derivative.",
)

fmin = elementwise(
    np.fmin,
    lambda v, y, a, b: _chosen(v, np.logical_or(np.less(a, b), np.not_equal(b, b))),
    branch=np.less,
    doc="The smaller of a and b, ignoring NaN; at a tie b has the derivative.",
)

absolute = elementwise(
    np.absolute,
    lambda v, y, x: (v * np.sign(x),),
    branch=np.sign,
    doc="|x|; the derivative at 0 is 0.",
)

sign = elementwise(np.sign, branch=np.sign, doc="−1, 0 or 1; passes nothing backward.")

where = register(
    BaseFunction(
        name="where",
        value=np.where,
        shape=broadcast_shape,
        vjp=lambda v, y, c, a, b: (None, np.where(c, v, 0), np.where(c, 0, v)),
        takes=None,
        gives=None,
        doc="a where the condition holds, else b. Both are computed, as in NumPy: "
        "keep a branch that is not chosen finite with a second ``where`` inside it.",
    )
)

real = register(
    BaseFunction(
        name="real",
        value=lambda x: np.asarray(x, np.float64),
        shape=lambda shape: shape,
        takes=None,
        doc="A truth value or an integer as a number of the run's dtype.",
    )
)

COMPARISONS = tuple(
    elementwise(
        ufunc, gives="bool", branch=ufunc, infix=infix, doc=f"Whether a {sign} b."
    )
    for ufunc, infix, sign in (
        (np.greater, ">", ">"),
        (np.greater_equal, ">=", "≥"),
        (np.less, "<", "<"),
        (np.less_equal, "<=", "≤"),
        (np.equal, "==", "="),
        (np.not_equal, "!=", "≠"),
    )
)

LOGICAL = tuple(
    elementwise(ufunc, takes="bool", gives="bool", doc=doc)
    for ufunc, doc in (
        (np.logical_and, "Whether both hold."),
        (np.logical_or, "Whether one holds."),
        (np.logical_xor, "Whether just one holds."),
        (np.logical_not, "Whether x does not hold."),
    )
)

NATURE = tuple(
    elementwise(ufunc, gives="bool", branch=ufunc, doc=f"Whether x is {nature}.")
    for ufunc, nature in (
        (np.isfinite, "neither infinite nor NaN"),
        (np.isinf, "infinite"),
        (np.isnan, "NaN"),
        (np.signbit, "negative, −0 and −NaN included"),
    )
)

copysign = elementwise(
    np.copysign,
    lambda v, y, a, b: (v * (np.copysign(1, a) * np.copysign(1, b)), None),
    branch=lambda a, b: np.signbit(a) + 2 * np.signbit(b),
    doc="|a| with the sign of b.",
)

heaviside = elementwise(
    np.heaviside,
    branch=lambda x, h: np.sign(x),
    doc="0 below 0, 1 above, and h at 0; passes nothing backward.",
)


@adapter(np.clip)
def _clip(
    a: Any,
    a_min: Any = None,
    a_max: Any = None,
    *,
    min: Any = None,
    max: Any = None,
) -> Any:
    """Limit values to two bounds; on a bound the derivative is 0."""
    if not (a_min is a_max is None or min is max is None):
        raise ValueError("bounds are a_min and a_max, or min and max")
    low, high = a_min if min is None else min, a_max if max is None else max
    a = a if low is None else np.maximum(a, low)
    return a if high is None else np.minimum(a, high)


@adapter(np.where)
def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None or y is None:
        raise ValueError("where takes a condition and two values to choose from")
    return where(condition, x, y)


@adapter(np.select)
def _select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """Return for each element the first choice whose condition holds."""
    y = default
    for condition, choice in list(zip(condlist, choicelist, strict=True))[::-1]:
        y = np.where(condition, choice, y)
    shapes = map(np.shape, (*condlist, *choicelist, default))
    return np.broadcast_to(y, np.broadcast_shapes(*shapes))


def within(index: Any, size: int, mode: str) -> Expression:
    """Return an index into an axis: as it is, its remainder, or the nearest."""
    if mode == "raise":
        return index
    if mode == "wrap":
        return np.remainder(index, size)
    if mode == "clip":
        return np.clip(index, 0, size - 1)
    raise ValueError(f"mode {mode!r} is none of 'raise', 'wrap' and 'clip'")


@adapter(np.choose)
def _choose(a: Any, choices: Any, mode: str = "raise") -> Any:
    """Return the element of the array with number a.

    A number outside gives NaN, with the mode "wrap" the remainder, with "clip" the
    nearest.
    """
    a = within(a, len(choices), mode)
    y: Any = np.nan
    for number, choice in enumerate(choices):
        y = np.where(np.equal(a, number), choice, y)
    return y


@adapter(np.isclose)
def _isclose(
    a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Any:
    near = np.less_equal(np.abs(a - b), atol + rtol * np.abs(b))
    y = np.logical_or(np.logical_and(near, np.isfinite(b)), np.equal(a, b))
    if not equal_nan:
        return y
    return np.logical_or(y, np.logical_and(np.isnan(a), np.isnan(b)))


@adapter(np.allclose)
def _allclose(
    a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Any:
    return np.all(np.isclose(a, b, rtol, atol, equal_nan))


@adapter(np.isposinf)
def _isposinf(x: Any) -> Any:
    return np.equal(x, np.inf)


@adapter(np.isneginf)
def _isneginf(x: Any) -> Any:
    return np.equal(x, -np.inf)


adapter(np.fabs)(absolute)
adapter(np.bitwise_and)(LOGICAL[0])
adapter(np.bitwise_or)(LOGICAL[1])
adapter(np.bitwise_xor)(LOGICAL[2])
adapter(np.invert)(LOGICAL[3])
