"""Softmax and its logarithms.

The largest element is subtracted before the exponential, so nothing overflows. Elements
of −∞, which masks set, have the weight 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.functions.axes import Axis, merged, normal_axes, of_number
from dtrain.functions.base import BaseFunction, Expression, Shape, register
from dtrain.functions.reduction import last_shape, over_last


def _row_shape(shape: Shape) -> Shape:
    last_shape(shape)
    return shape


def _largest(x: Expression) -> Expression:
    """Return the largest of the last axis, or 0 where that is not finite."""
    largest = np.max(x, axis=-1, keepdims=True)
    return np.where(np.isfinite(largest), largest, 0)


def _logsumexp(x: Expression) -> Expression:
    largest = _largest(x)
    return np.log(np.sum(np.exp(x - largest), axis=-1)) + largest[..., 0]


def _softmax(x: Expression) -> Expression:
    powers = np.exp(x - _largest(x))
    return powers / np.sum(powers, axis=-1, keepdims=True)


def _log_softmax(x: Expression) -> Expression:
    # The largest is not added again: it would cancel digits of the logarithm.
    s = x - _largest(x)
    return s - np.log(np.sum(np.exp(s), axis=-1, keepdims=True))


_LOGSUMEXP = register(
    BaseFunction(
        name="logsumexp",
        value=_logsumexp,
        shape=last_shape,
        definition=_logsumexp,
        vjp=lambda v, y, x: (v[..., None] * np.exp(x - y[..., None]),),
        doc="log Σ eˣ over the last axis, without overflow.",
    )
)

_SOFTMAX = register(
    BaseFunction(
        name="softmax",
        value=_softmax,
        shape=_row_shape,
        definition=_softmax,
        # The Jacobian is diag(y) − y yᵀ.
        vjp=lambda v, y, x: (y * (v - np.sum(v * y, axis=-1, keepdims=True)),),
        doc="eˣ / Σ eˣ over the last axis, of the same shape.",
    )
)

_LOG_SOFTMAX = register(
    BaseFunction(
        name="log_softmax",
        value=_log_softmax,
        shape=_row_shape,
        definition=_log_softmax,
        vjp=lambda v, y, x: (v - np.exp(y) * np.sum(v, axis=-1, keepdims=True),),
        doc="The logarithm of softmax over the last axis, without overflow.",
    )
)


def softmax(x: Any, axis: int = -1) -> Any:
    """Return eˣ / Σ eˣ along an axis, of the same shape."""
    return np.moveaxis(_SOFTMAX(np.moveaxis(x, axis, -1)), -1, axis)


def log_softmax(x: Any, axis: int = -1) -> Any:
    """Return the logarithm of softmax along an axis, of the same shape."""
    return np.moveaxis(_LOG_SOFTMAX(np.moveaxis(x, axis, -1)), -1, axis)


def _weighted_shape(x: Shape, b: Shape) -> Shape:
    if x != b:
        raise ValueError(f"{b} are no factors of {x}")
    return last_shape(x)


def _weighted(x: Expression, b: Expression) -> Expression:
    # What has the factor 0 does not count, and its power may not overflow.
    largest = _largest(np.where(np.equal(b, 0), -np.inf, x))
    powers = np.exp(np.minimum(x - largest, 80))
    return np.log(np.sum(b * powers, axis=-1)) + largest[..., 0]


def _weighted_vjp(
    v: Expression, y: Expression, x: Expression, b: Expression
) -> tuple[Expression, Expression]:
    powers = v[..., None] * np.exp(x - y[..., None])
    return b * powers, powers


_WEIGHTED = register(
    BaseFunction(
        name="weighted_logsumexp",
        value=_weighted,
        shape=_weighted_shape,
        definition=_weighted,
        vjp=_weighted_vjp,
        doc="log Σ b eˣ over the last axis, without overflow.",
    )
)


def logsumexp(
    x: Any, axis: Axis = None, keepdims: bool = False, *, b: Any = None
) -> Any:
    """Return log Σ b eˣ over axes, or over all, without overflow; b is 1 by default."""
    if b is None:
        return over_last(_LOGSUMEXP)(x, axis, keepdims=keepdims)
    x, b = np.broadcast_arrays(x, b)
    axes = normal_axes(of_number(axis, np.ndim(x)), np.ndim(x))
    shape = np.shape(x)
    x, b = (merged(each, axes) for each in (x, b))
    y = _WEIGHTED(x, b)
    kept = tuple(1 if i in axes else n for i, n in enumerate(shape))
    return np.reshape(y, kept) if keepdims else y
