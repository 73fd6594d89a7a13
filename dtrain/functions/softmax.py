"""Softmax and its logarithms.

The largest element is subtracted before the exponential, so nothing overflows. Elements
of −∞, which masks set, have the weight 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.functions.axes import Axis
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


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return log Σ eˣ over axes, or over all, without overflow."""
    return over_last(_LOGSUMEXP)(x, axis, keepdims=keepdims)
