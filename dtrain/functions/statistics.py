"""Statistics of axes, made of sums and extremes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dtrain.functions.axes import Axis, listed, normal_axes, one_axis
from dtrain.functions.base import Expression, adapter, constant


def root(x: Expression) -> Expression:
    """Return √x of a sum of squares; the derivative at 0 is 0."""
    positive = np.greater(x, 0)
    return np.where(positive, np.sqrt(np.where(positive, x, 1)), x)


def freedom(ddof: float, correction: float | None) -> float:
    """Return what is subtracted from the number of elements; it has two names."""
    if correction is None:
        return ddof
    if ddof:
        raise ValueError("ddof and correction are one: give one of them")
    return correction


@adapter(np.var)
def _var(
    a: Any,
    axis: Axis = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Return the mean squared distance from the mean, over n − ddof."""
    ddof = freedom(ddof, correction)
    count = math.prod(np.shape(a)[i] for i in normal_axes(axis, np.ndim(a)))
    if count <= ddof:
        raise ValueError(f"{count} elements have no variance with ddof={ddof}")
    mean = np.mean(a, axis=axis, keepdims=True) if mean is None else mean
    squares = np.sum(np.square(a - mean), axis=axis, keepdims=keepdims)
    return squares / (count - ddof)


@adapter(np.std)
def _std(
    a: Any,
    axis: Axis = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Return the root of the variance; for equal elements the derivative is 0."""
    ddof = freedom(ddof, correction)
    return root(np.var(a, axis, ddof=ddof, keepdims=keepdims, mean=mean))


@adapter(np.ptp)
def _ptp(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    largest = np.max(a, axis=axis, keepdims=keepdims)
    return largest - np.min(a, axis=axis, keepdims=keepdims)


@adapter(np.average)
def _average(
    a: Any,
    axis: Axis = None,
    weights: Any = None,
    returned: bool = False,
    *,
    keepdims: bool = False,
) -> Any:
    if weights is None:
        y = np.mean(a, axis=axis, keepdims=keepdims)
        count = math.prod(np.shape(a)[i] for i in normal_axes(axis, np.ndim(a)))
        return (y, np.full(np.shape(y), float(count))) if returned else y
    if np.shape(weights) != np.shape(a):
        i = one_axis(axis, np.ndim(a))
        if np.shape(weights) != (np.shape(a)[i],):
            raise ValueError("weights are as many as elements, or as the axis is long")
        after = (1,) * (np.ndim(a) - i - 1)
        weights = np.broadcast_to(np.reshape(weights, (-1, *after)), np.shape(a))
    total = np.sum(a * weights, axis=axis, keepdims=keepdims)
    size = np.sum(weights, axis=axis, keepdims=keepdims)
    return (total / size, size) if returned else total / size


@adapter(np.count_nonzero)
def _count_nonzero(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    axis = normal_axes(axis, np.ndim(a))  # one number has no axis 0 here
    return np.sum(np.not_equal(a, 0), axis=axis, keepdims=keepdims)


@adapter(np.any)
def _any(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    count = np.sum(np.not_equal(a, 0), axis=axis, keepdims=keepdims)
    return np.greater(count, 0)


@adapter(np.all)
def _all(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    return np.logical_not(np.any(np.equal(a, 0), axis=axis, keepdims=keepdims))


@adapter(np.linalg.norm)
def _norm(x: Any, ord: Any = None, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """Return p-norms of vectors; Frobenius, row-sum or column-sum norms of matrices.

    The derivative of the Euclidean norm at 0 is 0.
    """
    normal_axes(axis, np.ndim(x))
    axes = tuple(range(np.ndim(x)) if axis is None else listed(axis))
    if axis is not None and len(axes) not in (1, 2):
        raise ValueError(f"a norm is of one or two axes, not of {len(axes)}")
    if ord is None or (ord == "fro" and len(axes) == 2):
        return root(np.sum(np.square(x), axis=axes, keepdims=keepdims))
    if len(axes) == 1 and not isinstance(ord, str):
        return _vector_norm(x, ord, axes, keepdims)
    if len(axes) == 2 and ord in (1, -1, np.inf, -np.inf):
        summed, rest = axes if abs(ord) == 1 else axes[::-1]
        sums = np.sum(np.abs(x), axis=summed, keepdims=True)
        extreme = np.max if ord > 0 else np.min
        y = extreme(sums, axis=rest, keepdims=True)
        return y if keepdims else np.squeeze(y, axis=axes)
    if len(axes) == 2 and ord in (2, -2, "nuc"):
        values = np.linalg.svdvals(np.moveaxis(x, axes, (-2, -1)))
        y = (
            np.sum(values, axis=-1)
            if ord == "nuc"
            else values[..., min(ord - 2, 0) // 4]
        )
        return np.expand_dims(y, axes) if keepdims else y
    raise ValueError(f"the norm {ord!r} of {len(axes)} axes is not supported")


def _vector_norm(x: Any, ord: float, axis: tuple[int, ...], keepdims: bool) -> Any:
    if ord == 2:
        return root(np.sum(np.square(x), axis=axis, keepdims=keepdims))
    if ord == np.inf:
        return np.max(np.abs(x), axis=axis, keepdims=keepdims)
    if ord == -np.inf:
        return np.min(np.abs(x), axis=axis, keepdims=keepdims)
    if ord == 0:
        return np.count_nonzero(x, axis=axis, keepdims=keepdims)
    if ord < 1:
        return _concave_norm(x, ord, axis, keepdims)
    powers = np.sum(np.abs(x) ** ord, axis=axis, keepdims=keepdims)
    if ord == 1:
        return powers
    positive = np.greater(powers, 0)
    return np.where(positive, np.where(positive, powers, 1) ** (1 / ord), powers)


def _concave_norm(x: Any, ord: float, axis: tuple[int, ...], keepdims: bool) -> Any:
    """Return the norm of an order below 1; no adjoint passes to an element 0.

    There |x|ᵖ has no finite derivative. Of a negative order, one element 0 makes the
    sum of the powers infinite and the norm 0.
    """
    size = np.abs(x)
    size = np.where(np.greater(size, 0), size, np.where(np.isnan(x), np.nan, 0.0))
    powers = np.sum(size**ord, axis=axis, keepdims=keepdims)
    inner = np.logical_and(np.greater(powers, 0), np.isfinite(powers))
    outside = powers if ord > 0 else np.where(np.isinf(powers), 0.0, powers)
    return np.where(inner, np.where(inner, powers, 1) ** (1 / ord), outside)


@adapter(np.linalg.vector_norm)
def _linalg_vector_norm(
    x: Any, /, *, axis: Axis = None, keepdims: bool = False, ord: float = 2
) -> Any:
    return _vector_norm(x, ord, normal_axes(axis, np.ndim(x)), keepdims)


@adapter(np.linalg.matrix_norm)
def _linalg_matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    return np.linalg.norm(x, ord, axis=(-2, -1), keepdims=keepdims)


@adapter(np.cov)
def _cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
) -> Any:
    """Return the covariances of rows or columns, over n − 1 by default.

    ``fweights`` repeat observations; ``aweights`` weigh them.
    """
    if np.ndim(m) > 2:
        raise ValueError("cov takes one or two axes")
    x = np.atleast_2d(m if rowvar or np.ndim(m) == 1 else np.transpose(m))
    if y is not None:
        more = np.atleast_2d(y)
        turned = not rowvar and np.shape(more)[0] != 1  # like NumPy, for y alone
        x = np.concatenate([x, np.transpose(more) if turned else more])
    less = (0 if bias else 1) if ddof is None else ddof
    if fweights is not None or aweights is not None:
        return _weighted_cov(x, less, fweights, aweights)
    count = np.shape(x)[1] - less
    if count <= 0:
        raise ValueError(f"{np.shape(x)[1]} elements have no covariance")
    distance = x - np.mean(x, axis=1, keepdims=True)
    return np.squeeze(distance @ distance.T / count)


def _values(x: Any) -> Expression:
    """Return a sequence of numbers as an array, a symbol as it is."""
    return x if hasattr(x, "__dtrain_apply__") else constant(x)


def _weighted_cov(x: Any, ddof: float, fweights: Any, aweights: Any) -> Any:
    """Return the covariances of rows whose observations have weights."""
    given = [_values(w) for w in (fweights, aweights) if w is not None]
    for w in given:
        if np.shape(w) != np.shape(x)[1:]:
            raise ValueError(f"{np.shape(w)} weights for {np.shape(x)[1]} observations")
    w = math.prod(given[1:], start=given[0])
    total = np.sum(w)
    lost = ddof if aweights is None else ddof * np.sum(w * given[-1]) / total
    distance = x - np.sum(x * w, axis=1, keepdims=True) / total
    return np.squeeze((distance * w) @ distance.T / (total - lost))


@adapter(np.corrcoef)
def _corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> Any:
    """Return the covariances divided by both standard deviations."""
    covariance = np.cov(x, y, rowvar)
    if np.ndim(covariance) == 0:
        return covariance / covariance
    deviation = np.sqrt(np.diagonal(covariance))
    return covariance / deviation[:, None] / deviation
