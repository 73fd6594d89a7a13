"""Reductions that ignore NaN, and functions that replace NaN.

No adjoint passes backward to an element that is NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.functions.axes import Axis
from dtrain.functions.base import Expression, adapter
from dtrain.functions.statistics import root


def _instead(a: Expression, number: float) -> Expression:
    """Replace NaN by a number."""
    return np.where(np.isnan(a), number, a)


def _count(a: Expression, axis: Axis, keepdims: bool) -> Expression:
    return np.sum(np.logical_not(np.isnan(a)), axis=axis, keepdims=keepdims)


@adapter(np.nansum)
def _nansum(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    return np.sum(_instead(a, 0.0), axis=axis, keepdims=keepdims)


@adapter(np.nanprod)
def _nanprod(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    return np.prod(_instead(a, 1.0), axis=axis, keepdims=keepdims)


@adapter(np.nancumsum)
def _nancumsum(a: Any, axis: int | None = None) -> Any:
    return np.cumsum(_instead(a, 0.0), axis=axis)


@adapter(np.nancumprod)
def _nancumprod(a: Any, axis: int | None = None) -> Any:
    return np.cumprod(_instead(a, 1.0), axis=axis)


@adapter(np.nanmean)
def _nanmean(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    return np.nansum(a, axis, keepdims=keepdims) / _count(a, axis, keepdims)


@adapter(np.nanvar)
def _nanvar(
    a: Any, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False
) -> Any:
    distance = _instead(a - np.nanmean(a, axis, keepdims=True), 0.0)
    squares = np.sum(np.square(distance), axis=axis, keepdims=keepdims)
    return squares / (_count(a, axis, keepdims) - ddof)


@adapter(np.nanstd)
def _nanstd(
    a: Any, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False
) -> Any:
    return root(np.nanvar(a, axis, ddof=ddof, keepdims=keepdims))


@adapter(np.nanmax)
def _nanmax(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    most = np.max(_instead(a, -np.inf), axis=axis, keepdims=keepdims)
    return np.where(np.equal(_count(a, axis, keepdims), 0), np.nan, most)


@adapter(np.nanmin)
def _nanmin(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    least = np.min(_instead(a, np.inf), axis=axis, keepdims=keepdims)
    return np.where(np.equal(_count(a, axis, keepdims), 0), np.nan, least)


@adapter(np.nan_to_num)
def _nan_to_num(
    x: Any,
    copy: bool = True,
    nan: float = 0.0,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Any:
    """Replace NaN and infinities; the numbers for infinities must be given."""
    if posinf is None or neginf is None:
        raise ValueError("say which numbers posinf and neginf are to be")
    finite = np.where(np.isinf(x), np.where(np.greater(x, 0), posinf, neginf), x)
    return _instead(finite, nan)
