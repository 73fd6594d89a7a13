"""Reductions that ignore NaN, and functions that replace NaN.

No adjoint passes backward to an element that is NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.functions.axes import Axis
from dtrain.functions.base import BaseFunction, Expression, adapter, register
from dtrain.functions.statistics import freedom, root


def _instead(a: Expression, number: float) -> Expression:
    """Replace NaN by a number."""
    return np.where(np.isnan(a), number, a)


def _count(a: Expression, axis: Axis, keepdims: bool) -> Expression:
    return np.sum(np.logical_not(np.isnan(a)), axis=axis, keepdims=keepdims)


@adapter(np.nansum)
def _nansum(
    a: Any, axis: Axis = None, *, keepdims: bool = False, initial: Any = None
) -> Any:
    return np.sum(_instead(a, 0.0), axis, keepdims=keepdims, initial=initial)


@adapter(np.nanprod)
def _nanprod(
    a: Any, axis: Axis = None, *, keepdims: bool = False, initial: Any = None
) -> Any:
    return np.prod(_instead(a, 1.0), axis, keepdims=keepdims, initial=initial)


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
    a: Any,
    axis: Axis = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    ddof = freedom(ddof, correction)
    mean = np.nanmean(a, axis, keepdims=True) if mean is None else mean
    distance = _instead(a - mean, 0.0)
    squares = np.sum(np.square(distance), axis=axis, keepdims=keepdims)
    return squares / (_count(a, axis, keepdims) - ddof)


@adapter(np.nanstd)
def _nanstd(
    a: Any,
    axis: Axis = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    ddof = freedom(ddof, correction)
    return root(np.nanvar(a, axis, ddof=ddof, keepdims=keepdims, mean=mean))


@adapter(np.nanmax)
def _nanmax(
    a: Any, axis: Axis = None, *, keepdims: bool = False, initial: Any = None
) -> Any:
    numbers = _instead(a, -np.inf)
    most = np.max(numbers, axis, keepdims=keepdims, initial=initial)
    if initial is not None:
        return most
    return np.where(np.equal(_count(a, axis, keepdims), 0), np.nan, most)


@adapter(np.nanmin)
def _nanmin(
    a: Any, axis: Axis = None, *, keepdims: bool = False, initial: Any = None
) -> Any:
    numbers = _instead(a, np.inf)
    least = np.min(numbers, axis, keepdims=keepdims, initial=initial)
    if initial is not None:
        return least
    return np.where(np.equal(_count(a, axis, keepdims), 0), np.nan, least)


largest = register(
    BaseFunction(
        name="largest",
        value=lambda x: np.full(np.shape(x), np.finfo(np.result_type(x)).max),
        shape=lambda shape: shape,
        doc="The largest finite number of the dtype of x; passes nothing backward.",
    )
)


@adapter(np.nan_to_num)
def _nan_to_num(
    x: Any,
    copy: bool = True,
    nan: float = 0.0,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Any:
    """Replace NaN by 0 and infinities by the largest finite numbers, or by given ones.

    The largest numbers are those of the run's dtype.
    """
    most = largest(x) if None in (posinf, neginf) else None
    above = most if posinf is None else posinf
    below = -most if neginf is None else neginf
    finite = np.where(np.isinf(x), np.where(np.greater(x, 0), above, below), x)
    return _instead(finite, nan)
