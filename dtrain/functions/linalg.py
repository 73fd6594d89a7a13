"""Linear systems, inverses and determinants.

Transfer functions are those of M. Giles, *Collected matrix derivative results for
forward and reverse mode algorithmic differentiation* (2008), sections 2.2 and 2.3. A
singular matrix is refused when it is met.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from dtrain.functions.base import BaseFunction, Expression, Shape, adapter, register


def _square_shape(shape: Shape) -> Shape:
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"{shape} is no square matrix")
    return shape


def _solve_shape(a: Shape, b: Shape) -> Shape:
    if len(b) < 2 or _square_shape(a)[:-1] != b[:-1]:
        raise ValueError(f"{b} are no right-hand sides for {a}")
    return b


def _solve_vjp(
    v: Expression, y: Expression, a: Expression, b: Expression
) -> tuple[Expression, Expression]:
    w = solve(np.matrix_transpose(a), v)
    return -(w @ np.matrix_transpose(y)), w


solve: BaseFunction = register(
    BaseFunction(
        name="solve",
        value=np.linalg.solve,
        shape=_solve_shape,
        vjp=_solve_vjp,
        doc="X with A X = B, of shapes (..., n, n) and (..., n, k).",
    )
)


def _of_det(v: Expression, x: Expression) -> Expression:
    """V times the derivative of log |det X|, which is X⁻ᵀ."""
    return v[..., None, None] * np.matrix_transpose(np.linalg.inv(x))


det = register(
    BaseFunction(
        name="det",
        value=np.linalg.det,
        shape=lambda shape: _square_shape(shape)[:-2],
        vjp=lambda v, y, x: (_of_det(v * y, x),),
        doc="The determinant of (..., n, n); its derivative needs the inverse.",
    )
)

logabsdet = register(
    BaseFunction(
        name="logabsdet",
        value=lambda x: np.linalg.slogdet(x)[1],
        shape=lambda shape: _square_shape(shape)[:-2],
        vjp=lambda v, y, x: (_of_det(v, x),),
        doc="log |det X| of (..., n, n).",
    )
)

sign_of_det = register(
    BaseFunction(
        name="sign_of_det",
        value=lambda x: np.linalg.slogdet(x)[0],
        shape=lambda shape: _square_shape(shape)[:-2],
        branch=lambda x: np.linalg.slogdet(x)[0],
        doc="The sign of the determinant of (..., n, n); passes nothing backward.",
    )
)


class SlogDet(NamedTuple):
    """A determinant as sign and logarithm, as NumPy returns it."""

    sign: Any
    logabsdet: Any


@adapter(np.linalg.solve)
def _solve(a: Any, b: Any) -> Any:
    """X with A X = B; as in NumPy 2, b is a vector only if it has one axis."""
    column = np.ndim(b) == 1
    b = np.expand_dims(b, 1) if column else b
    lead = np.broadcast_shapes(np.shape(a)[:-2], np.shape(b)[:-2])
    a, b = (np.broadcast_to(x, lead + np.shape(x)[-2:]) for x in (a, b))
    x = solve(a, b)
    return x[..., 0] if column else x


@adapter(np.linalg.inv)
def _inv(a: Any) -> Any:
    shape = _square_shape(np.shape(a))
    return solve(a, np.broadcast_to(np.eye(shape[-1]), shape))


adapter(np.linalg.det)(det)


@adapter(np.linalg.slogdet)
def _slogdet(a: Any) -> SlogDet:
    return SlogDet(sign_of_det(a), logabsdet(a))


@adapter(np.linalg.matrix_power)
def _matrix_power(a: Any, n: int) -> Any:
    """By repeated squaring; a negative power is that of the inverse."""
    shape = _square_shape(np.shape(a))
    if n < 0:
        a, n = np.linalg.inv(a), -n
    power = None
    while n:
        if n % 2:
            power = a if power is None else power @ a
        n //= 2
        a = a @ a if n else a
    return np.broadcast_to(np.eye(shape[-1]), shape) if power is None else power


@adapter(np.linalg.multi_dot)
def _multi_dot(arrays: Sequence[Any]) -> Any:
    """The product of all, from the left."""
    return reduce(np.dot, arrays)
