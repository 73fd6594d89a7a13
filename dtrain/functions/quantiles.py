"""Quantiles and medians: elements in order, and points between two of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dtrain.functions.axes import Axis, merged, normal_axes, one_axis
from dtrain.functions.base import Expression, Shape, adapter
from dtrain.functions.gather import argsort, sort


@adapter(np.quantile)
def _quantile(
    a: Any,
    q: Any,
    axis: Axis = None,
    *,
    method: str = "linear",
    keepdims: bool = False,
    weights: Any = None,
) -> Any:
    """Interpolate between the two nearest elements in order; q is a constant."""
    if np.ndim(q):
        more: dict[str, Any] = {"method": method, "weights": weights}
        parts = [_quantile(a, each, axis, keepdims=keepdims, **more) for each in q]
        return np.stack(parts)
    shape = np.shape(a)
    axes = normal_axes(axis, len(shape))
    count = math.prod(shape[i] for i in axes)
    if not count or not 0 <= q <= 1:
        raise ValueError(f"there is no quantile {q} of {count} elements")
    rows = merged(a, axes)
    if weights is not None:
        if method != "inverted_cdf":
            raise ValueError("weights need method='inverted_cdf', as in NumPy")
        y = _weighted(rows, float(q), merged(_like(weights, shape, axis), axes))
    else:
        y = _between(sort(rows), _position(float(q), count, method))
    kept = tuple(1 if i in axes else n for i, n in enumerate(shape))
    return np.reshape(y, kept) if keepdims else y


@adapter(np.percentile)
def _percentile(
    a: Any,
    q: Any,
    axis: Axis = None,
    *,
    method: str = "linear",
    keepdims: bool = False,
    weights: Any = None,
) -> Any:
    more: dict[str, Any] = {"method": method, "weights": weights}
    return _quantile(a, np.divide(q, 100), axis, keepdims=keepdims, **more)


@adapter(np.median)
def _median(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """Return the middle element in order, or the mean of two."""
    return _quantile(a, 0.5, axis, keepdims=keepdims)


def _position(q: float, count: int, method: str) -> float:
    """Return between which elements in order, numbered from 0, the quantile is."""
    if method == "linear":
        return q * (count - 1)
    # Each of NumPy's methods interpolates linearly between two elements: of the
    # elements 0, 1, 2, ... the result is the position.
    return float(np.quantile(np.arange(float(count)), q, method=method))  # type: ignore[call-overload]


def _between(row: Expression, position: float) -> Expression:
    """Return the point between two elements of sorted rows; NaN if one is NaN."""
    low = math.floor(position)
    y = row[..., low]
    part = position - low
    if part == 0.5:  # like the median: the mean of two, which may be infinite
        y = (y + row[..., low + 1]) / 2
    elif part:
        y = y + (row[..., low + 1] - y) * part
    last = row[..., -1]  # NaN, if there is one
    return np.where(np.isnan(last), last, y)


def _weighted(rows: Expression, q: float, weights: Expression) -> Expression:
    """Return the first element whose share of the weight, and of those before, is q."""
    order = argsort(rows)
    row = np.take_along_axis(rows, order, -1)
    shares = np.cumsum(np.take_along_axis(weights, order, -1), axis=-1)
    # An element without weight is no quantile, not even the least.
    below = np.logical_or(np.less(shares, q * shares[..., -1:]), np.equal(shares, 0))
    at = np.minimum(np.sum(below, axis=-1, keepdims=True), np.shape(rows)[-1] - 1)
    y = np.take_along_axis(row, at.astype(int), -1)[..., 0]
    last = row[..., -1]
    return np.where(np.isnan(last), last, y)


def _like(weights: Any, shape: Shape, axis: Any) -> Expression:
    """Return weights of the elements, given for each or along one axis."""
    if np.shape(weights) == shape:
        return weights
    i = one_axis(axis, len(shape))
    if np.shape(weights) != (shape[i],):
        raise ValueError("weights are as many as elements, or as the axis is long")
    weights = np.reshape(weights, (-1,) + (1,) * (len(shape) - i - 1))
    return np.broadcast_to(weights, shape)
