"""Statistics of axes, made of sums and extremes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dtrain.functions.axes import Axis, normal_axes
from dtrain.functions.base import Expression, adapter


def root(x: Expression) -> Expression:
    """√x of a sum of squares; where all of them are 0 the derivative is 0, too."""
    positive = np.greater(x, 0)
    return np.where(positive, np.sqrt(np.where(positive, x, 1)), x)


@adapter(np.var)
def _var(a: Any, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    """The mean squared distance from the mean, over n − ddof."""
    count = math.prod(np.shape(a)[i] for i in normal_axes(axis, np.ndim(a)))
    if count <= ddof:
        raise ValueError(f"{count} elements have no variance with ddof={ddof}")
    distance = a - np.mean(a, axis=axis, keepdims=True)
    squares = np.sum(np.square(distance), axis=axis, keepdims=keepdims)
    return squares / (count - ddof)


@adapter(np.std)
def _std(a: Any, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    """The root of the variance; of equal elements the derivative is 0."""
    return root(_var(a, axis, ddof=ddof, keepdims=keepdims))


@adapter(np.ptp)
def _ptp(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    largest = np.max(a, axis=axis, keepdims=keepdims)
    return largest - np.min(a, axis=axis, keepdims=keepdims)


@adapter(np.average)
def _average(a: Any, axis: Axis = None, weights: Any = None) -> Any:
    if weights is None:
        return np.mean(a, axis=axis)
    if np.shape(weights) != np.shape(a):
        raise ValueError("np.average as traced takes weights of the array's own shape")
    return np.sum(a * weights, axis=axis) / np.sum(weights, axis=axis)


@adapter(np.count_nonzero)
def _count_nonzero(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    return np.sum(np.not_equal(a, 0), axis=axis, keepdims=keepdims)


@adapter(np.any)
def _any(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    return np.greater(np.count_nonzero(a, axis=axis, keepdims=keepdims), 0)


@adapter(np.all)
def _all(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    return np.logical_not(np.any(np.equal(a, 0), axis=axis, keepdims=keepdims))


@adapter(np.linalg.norm)
def _norm(x: Any, ord: Any = None, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """Of vectors by any p, of matrices by Frobenius or by sums of rows or columns.

    The Euclidean norm of 0 has the derivative 0.
    """
    axes = normal_axes(axis, np.ndim(x)) if axis is None else _listed(axis)
    if ord is None or (ord == 2 and len(axes) == 1) or ord == "fro":
        return root(np.sum(np.square(x), axis=axes, keepdims=keepdims))
    if len(axes) == 1:
        return _vector_norm(x, ord, axes[0], keepdims)
    if len(axes) == 2 and abs(ord) in (1, np.inf):
        summed, rest = axes if abs(ord) == 1 else axes[::-1]
        sums = np.sum(np.abs(x), axis=summed, keepdims=True)
        extreme = np.max if ord > 0 else np.min
        y = extreme(sums, axis=rest, keepdims=True)
        return y if keepdims else np.squeeze(y, axis=axes)
    raise ValueError(f"the norm {ord!r} of {len(axes)} axes is not supported")


def _listed(axis: int | tuple[int, ...]) -> tuple[int, ...]:
    return axis if isinstance(axis, tuple) else (axis,)


def _vector_norm(x: Any, ord: float, axis: int, keepdims: bool) -> Any:
    if ord == np.inf:
        return np.max(np.abs(x), axis=axis, keepdims=keepdims)
    if ord == -np.inf:
        return np.min(np.abs(x), axis=axis, keepdims=keepdims)
    if ord == 0:
        return np.count_nonzero(x, axis=axis, keepdims=keepdims)
    powers = np.sum(np.abs(x) ** ord, axis=axis, keepdims=keepdims)
    return powers if ord == 1 else powers ** (1 / ord)


@adapter(np.linalg.vector_norm)
def _linalg_vector_norm(
    x: Any, /, *, axis: Axis = None, keepdims: bool = False, ord: float = 2
) -> Any:
    axes = normal_axes(axis, np.ndim(x))
    if ord == 2:
        return root(np.sum(np.square(x), axis=axes, keepdims=keepdims))
    if axis is None and not keepdims:
        return _vector_norm(np.ravel(x), ord, 0, keepdims=False)
    if len(axes) != 1:
        raise ValueError(f"the norm {ord!r} of {len(axes)} axes is not supported")
    return _vector_norm(x, ord, axes[0], keepdims)
