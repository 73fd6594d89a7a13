"""Linear systems, inverses, determinants, Cholesky factors and eigenvalues.

Transfer functions are those of M. Giles, *Collected matrix derivative results for
forward and reverse mode algorithmic differentiation* (2008), sections 2.2, 2.3 and 3.1,
and of I. Murray, *Differentiation of the Cholesky decomposition* (2016). A singular
matrix raises an error during the run. NumPy reads a symmetric matrix on and below the
diagonal, so only these elements have a derivative.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from dtrain.functions.base import (
    BaseFunction,
    Cost,
    Expression,
    Shape,
    adapter,
    register,
)


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
        cost=Cost.CUBIC,
        value=np.linalg.solve,
        shape=_solve_shape,
        vjp=_solve_vjp,
        doc="X with A X = B, of shapes (..., n, n) and (..., n, k).",
    )
)


def _of_det(v: Expression, x: Expression) -> Expression:
    """Return v times X⁻ᵀ, the derivative of log |det X|."""
    return v[..., None, None] * np.matrix_transpose(np.linalg.inv(x))


det = register(
    BaseFunction(
        name="det",
        cost=Cost.CUBIC,
        value=np.linalg.det,
        shape=lambda shape: _square_shape(shape)[:-2],
        vjp=lambda v, y, x: (_of_det(v * y, x),),
        doc="The determinant of (..., n, n); its derivative needs the inverse.",
    )
)

logabsdet = register(
    BaseFunction(
        name="logabsdet",
        cost=Cost.CUBIC,
        value=lambda x: np.linalg.slogdet(x)[1],
        shape=lambda shape: _square_shape(shape)[:-2],
        vjp=lambda v, y, x: (_of_det(v, x),),
        doc="log |det X| of (..., n, n).",
    )
)

sign_of_det = register(
    BaseFunction(
        name="sign_of_det",
        cost=Cost.CUBIC,
        value=lambda x: np.linalg.slogdet(x)[0],
        shape=lambda shape: _square_shape(shape)[:-2],
        branch=lambda x: np.linalg.slogdet(x)[0],
        doc="The sign of the determinant of (..., n, n); passes nothing backward.",
    )
)


def _of_symmetric(v: Expression) -> Expression:
    """Return the adjoint of the lower triangle of a symmetric matrix."""
    n = np.shape(v)[-1]
    return (np.tri(n) - 0.5 * np.eye(n)) * (v + np.matrix_transpose(v))


def _cholesky_vjp(v: Expression, y: Expression, x: Expression) -> tuple[Expression]:
    n = np.shape(x)[-1]
    turned = np.matrix_transpose(y)
    p = (np.tri(n) - 0.5 * np.eye(n)) * (turned @ v)
    right = solve(turned, np.matrix_transpose(solve(turned, p)))
    return (_of_symmetric(right),)


cholesky: BaseFunction = register(
    BaseFunction(
        name="cholesky",
        value=np.linalg.cholesky,
        shape=_square_shape,
        vjp=_cholesky_vjp,
        doc="The lower triangular L with L Lᵀ = X, of (..., n, n); X is positive "
        "definite.",
    )
)


def _along(u: Expression, inner: Expression) -> Expression:
    return _of_symmetric(u @ inner @ np.matrix_transpose(u))


def _upper_vjp(v: Expression, y: Expression, x: Expression) -> tuple[Expression]:
    (lower,) = _eigenvectors_vjp(v, y, np.matrix_transpose(x))
    return (np.matrix_transpose(lower),)


def _eigenvectors_vjp(v: Expression, y: Expression, x: Expression) -> tuple[Expression]:
    values, same = eigenvalues(x), np.eye(np.shape(x)[-1], dtype=bool)
    gaps = values[..., None, :] - values[..., :, None]
    inverse = np.where(same, 0, 1 / np.where(same, 1, gaps))
    return (_along(y, inverse * (np.matrix_transpose(y) @ v)),)


eigenvalues: BaseFunction = register(
    BaseFunction(
        name="eigenvalues",
        value=np.linalg.eigvalsh,
        shape=lambda shape: _square_shape(shape)[:-1],
        vjp=lambda v, y, x: (
            _along(eigenvectors(x), v[..., None] * np.eye(np.shape(x)[-1])),
        ),
        doc="The eigenvalues of symmetric (..., n, n), from the smallest, (..., n).",
    )
)

eigenvectors: BaseFunction = register(
    BaseFunction(
        name="eigenvectors",
        value=lambda x: np.linalg.eigh(x)[1],
        shape=_square_shape,
        vjp=_eigenvectors_vjp,
        doc="The eigenvectors of symmetric (..., n, n), in columns, with LAPACK's "
        "signs; they have a derivative where no two eigenvalues are equal.",
    )
)


eigenvectors_of_upper = register(
    BaseFunction(
        name="eigenvectors_of_upper",
        value=lambda x: np.linalg.eigh(x, "U")[1],
        shape=_square_shape,
        vjp=_upper_vjp,
        doc="Like eigenvectors, of the triangle on and above the diagonal, for which "
        "LAPACK has other signs.",
    )
)


def _pinv_shape(shape: Shape, *, cutoff: float) -> Shape:
    if len(shape) < 2:
        raise ValueError(f"{shape} is no matrix")
    return (*shape[:-2], shape[-1], shape[-2])


def _pinv_vjp(
    v: Expression, y: Expression, x: Expression, *, cutoff: float
) -> tuple[Expression]:
    m, n = np.shape(x)[-2:]
    turned, adjoint = np.matrix_transpose(y), np.matrix_transpose(v)
    left = (np.eye(m) - x @ y) @ adjoint @ (y @ turned)
    right = (turned @ y) @ adjoint @ (np.eye(n) - y @ x)
    return (left + right - turned @ v @ turned,)


pinv = register(
    BaseFunction(
        name="pinv",
        cost=Cost.CUBIC,
        value=lambda x, *, cutoff: np.linalg.pinv(x, cutoff),
        shape=_pinv_shape,
        # Golub and Pereyra, The differentiation of pseudo-inverses and nonlinear least
        # squares problems whose variables separate (1973), equation 4.12.
        vjp=_pinv_vjp,
        doc="The pseudo-inverse of (..., m, n), without singular values up to "
        "``cutoff`` times the largest; the derivative is that at constant rank.",
    )
)


@adapter(np.linalg.pinv)
def _pinv(
    a: Any,
    rcond: float | None = None,
    hermitian: bool = False,
    *,
    rtol: Any = np._NoValue,
) -> Any:
    """Return the pseudo-inverse; ``rcond`` is a number.

    A symmetric matrix has the same with ``hermitian`` and without.
    """
    if rtol is np._NoValue:
        cutoff = 1e-15 if rcond is None else rcond
    elif rcond is not None:
        raise ValueError("rtol and rcond are one: give one of them")
    else:
        cutoff = max(np.shape(a)[-2:]) * np.finfo(float).eps if rtol is None else rtol
    if hermitian:
        a = _both_triangles(a)
    return pinv(a, cutoff=float(cutoff))


def _both_triangles(a: Expression) -> Expression:
    """Return the symmetric matrix that has the same lower triangle."""
    _square_shape(np.shape(a))
    lower = np.tril(a)
    return lower + np.matrix_transpose(np.tril(a, -1))


@adapter(np.linalg.svdvals)
def _svdvals(x: Any, /) -> Any:
    """Return the singular values, from the largest; the derivative at 0 is 0.

    They are the positive eigenvalues of [0 X; Xᵀ 0] (Golub and Van Loan, Matrix
    Computations, section 8.6.1), whose derivative is u vᵀ, for equal values, too.
    """
    if np.ndim(x) < 2:
        raise ValueError(f"{np.shape(x)} is no matrix")
    m, n = np.shape(x)[-2:]
    lead = np.shape(x)[:-2]
    turned = np.matrix_transpose(x)
    above = np.concatenate([np.zeros((*lead, m, m)), x], axis=-1)
    below = np.concatenate([turned, np.zeros((*lead, n, n))], axis=-1)
    values = eigenvalues(np.concatenate([above, below], axis=-2))
    largest = np.flip(values[..., max(m, n) :], -1)
    return np.where(np.greater(largest, 0), largest, 0.0)


@adapter(np.linalg.svd)
def _svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """Return the singular values; ``compute_uv=False`` must be given."""
    if compute_uv:
        raise ValueError(
            "singular vectors have no derivative where singular values are equal; "
            "compute_uv=False or np.linalg.svdvals gives the singular values, "
            "np.linalg.eigh(x.T @ x) vectors and squares of values"
        )
    return np.linalg.svdvals(_both_triangles(a) if hermitian else a)


class Eigen(NamedTuple):
    """Eigenvalues and eigenvectors, like NumPy's result."""

    eigenvalues: Any
    eigenvectors: Any


@adapter(np.linalg.eigh)
def _eigh(a: Any, UPLO: str = "L") -> Eigen:
    """Return the eigenvalues and eigenvectors of a symmetric matrix's triangle."""
    lower = _lower(a, UPLO)
    vectors = eigenvectors(a) if UPLO == "L" else eigenvectors_of_upper(a)
    return Eigen(eigenvalues(lower), vectors)


@adapter(np.linalg.eigvalsh)
def _eigvalsh(a: Any, UPLO: str = "L") -> Any:
    return eigenvalues(_lower(a, UPLO))


def _lower(a: Expression, triangle: str) -> Expression:
    if triangle not in ("L", "U"):
        raise ValueError(f"UPLO is 'L' or 'U', not {triangle!r}")
    _square_shape(np.shape(a))
    return a if triangle == "L" else np.matrix_transpose(a)


@adapter(np.linalg.cholesky)
def _cholesky(a: Any, /, *, upper: bool = False) -> Any:
    if not upper:
        return cholesky(a)
    return np.matrix_transpose(cholesky(_lower(a, "U")))


class SlogDet(NamedTuple):
    """Sign and logarithm of a determinant, like NumPy's result."""

    sign: Any
    logabsdet: Any


@adapter(np.linalg.solve)
def _solve(a: Any, b: Any) -> Any:
    """Return X with A X = B; as in NumPy 2, b is a vector only if it has one axis."""
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


@adapter(np.linalg.det)
def _det(a: Any) -> Any:
    return det(a)


@adapter(np.linalg.slogdet)
def _slogdet(a: Any) -> SlogDet:
    return SlogDet(sign_of_det(a), logabsdet(a))


@adapter(np.linalg.matrix_power)
def _matrix_power(a: Any, n: int) -> Any:
    """Raise a matrix to a power by squaring; a negative power inverts it first."""
    shape, n = _square_shape(np.shape(a)), operator.index(n)
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
    """Return the product of all matrices, multiplied from the left."""
    return reduce(np.dot, arrays)
