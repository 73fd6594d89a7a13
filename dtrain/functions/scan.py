"""Cumulative sums and products."""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.functions.axes import of_number, one_axis
from dtrain.functions.base import BaseFunction, Expression, adapter, register

cumsum: BaseFunction = register(
    BaseFunction(
        name="cumsum",
        value=lambda x: np.cumsum(x, axis=-1),
        shape=lambda shape: shape,
        # Element j is part of the sums i ≥ j, so their adjoints pass to it.
        vjp=lambda v, y, x: (np.flip(cumsum(np.flip(v, -1)), -1),),
        doc="The sums of the last axis up to each element, of the same shape.",
    )
)


def _doubled(x: Expression) -> Expression:
    """Multiply each element by those 1, 2, 4, ... before it, in log₂ n products.

    There is no division, so zeros are exact at every order (Hillis and Steele, Data
    parallel algorithms, 1986).
    """
    by = 1
    while by < np.shape(x)[-1]:
        x = np.concatenate([x[..., :by], x[..., by:] * x[..., :-by]], axis=-1)
        by *= 2
    return x


cumprod = register(
    BaseFunction(
        name="cumprod",
        value=lambda x: np.cumprod(x, axis=-1),
        shape=lambda shape: shape,
        definition=_doubled,
        doc="The products of the last axis up to each element, of the same shape.",
    )
)


def _along(function: BaseFunction) -> Any:
    """Adapt a function of the last axis to any one axis, or to all in C order."""

    def scan(a: Any, axis: int | None = None) -> Any:
        axis = of_number(axis, np.ndim(a))
        if axis is None:
            return function(np.ravel(a))
        axis = one_axis(axis, np.ndim(a))
        return np.moveaxis(function(np.moveaxis(a, axis, -1)), -1, axis)

    return scan


adapter(np.cumsum)(_along(cumsum))
adapter(np.cumprod)(_along(cumprod))


@adapter(np.cumulative_sum)
def _cumulative_sum(
    x: Any, /, *, axis: int | None = None, include_initial: bool = False
) -> Any:
    return _cumulative(np.cumsum, np.zeros, x, axis, include_initial)


@adapter(np.cumulative_prod)
def _cumulative_prod(
    x: Any, /, *, axis: int | None = None, include_initial: bool = False
) -> Any:
    return _cumulative(np.cumprod, np.ones, x, axis, include_initial)


def _cumulative(
    scan: Any, first: Any, x: Expression, axis: int | None, initial: bool
) -> Expression:
    if axis is None:
        if np.ndim(x) != 1:
            raise ValueError("an array of several axes needs axis=")
        axis = 0
    y = np.moveaxis(scan(x, axis=axis), axis, 0)
    if initial:
        y = np.concatenate([first((1, *np.shape(y)[1:])), y])
    return np.moveaxis(y, 0, axis)
