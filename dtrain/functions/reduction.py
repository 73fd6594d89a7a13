"""Reductions of axes: sums, products, and the largest and smallest elements.

The lecture calls them pooling ("Important special cases": reduce). The Jacobian of + is
a row of ones. That of max is the indicator of the chosen element; among equal elements
the first is chosen, as by ``argmax``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dtrain.functions.axes import Axis, merged, normal_axes, of_number, one_axis
from dtrain.functions.base import (
    BaseFunction,
    Expression,
    Shape,
    adapter,
    constant,
    is_truth,
    register,
)
from dtrain.functions.shape import broadcast


def _sum_shape(shape: Shape, *, axis: tuple[int, ...]) -> Shape:
    return tuple(size for i, size in enumerate(shape) if i not in axis)


def _sum_vjp(
    v: Expression, y: Expression, x: Expression, *, axis: tuple[int, ...]
) -> tuple[Expression]:
    kept = tuple(1 if i in axis else n for i, n in enumerate(np.shape(x)))
    return (broadcast(np.reshape(v, kept), shape=np.shape(x)),)


sum_ = register(
    BaseFunction(
        name="sum",
        value=lambda x, *, axis: np.sum(x, axis=axis),
        shape=_sum_shape,
        vjp=_sum_vjp,
        doc="The sum over axes.",
    )
)


def last_shape(shape: Shape) -> Shape:
    """Return the shape without its last axis; raise if that axis is empty."""
    if not shape[-1]:
        raise ValueError("there is no largest or smallest of no elements")
    return shape[:-1]


argmax = register(
    BaseFunction(
        name="argmax",
        value=lambda x: np.argmax(x, axis=-1),
        shape=last_shape,
        gives="int",
        branch=lambda x: np.argmax(x, axis=-1),
        doc="The index of the largest element of the last axis; the first of several.",
    )
)

argmin = register(
    BaseFunction(
        name="argmin",
        value=lambda x: np.argmin(x, axis=-1),
        shape=last_shape,
        gives="int",
        branch=lambda x: np.argmin(x, axis=-1),
        doc="The index of the smallest element of the last axis; the first of several.",
    )
)


def _indicator(v: Expression, chosen: Expression, x: Expression) -> Expression:
    """Return the adjoint v at the chosen elements of the last axis, else 0."""
    places = constant(np.arange(np.shape(x)[-1]))
    return np.where(np.equal(chosen[..., None], places), v[..., None], 0)


max_ = register(
    BaseFunction(
        name="max",
        value=lambda x: np.max(x, axis=-1),
        shape=last_shape,
        vjp=lambda v, y, x: (_indicator(v, argmax(x), x),),
        takes=None,
        gives=None,
        branch=lambda x: np.argmax(x, axis=-1),
        doc="The largest of the last axis; the first of equals has the derivative.",
    )
)

min_ = register(
    BaseFunction(
        name="min",
        value=lambda x: np.min(x, axis=-1),
        shape=last_shape,
        vjp=lambda v, y, x: (_indicator(v, argmin(x), x),),
        takes=None,
        gives=None,
        branch=lambda x: np.argmin(x, axis=-1),
        doc="The smallest of the last axis; the first of equals has the derivative.",
    )
)


def _halves(x: Expression) -> Expression:
    """Multiply the last axis by halves; without division zeros need no exception."""
    n = np.shape(x)[-1]
    if not n:
        return broadcast(constant(1.0), shape=np.shape(x)[:-1])
    while n > 1:
        half, odd = divmod(n, 2)
        product = x[..., :half] * x[..., half : 2 * half]
        x = np.concatenate([product, x[..., 2 * half :]], axis=-1) if odd else product
        n = half + odd
    return x[..., 0]


prod = register(
    BaseFunction(
        name="prod",
        value=lambda x: np.prod(x, axis=-1),
        shape=lambda shape: shape[:-1],
        definition=_halves,
        doc="The product of the last axis.",
    )
)


@adapter(np.sum)
def _sum(
    a: Any, axis: Axis = None, *, keepdims: bool = False, initial: Any = None
) -> Any:
    axes = normal_axes(of_number(axis, np.ndim(a)), np.ndim(a))
    y = sum_(a, axis=axes) if axes else _number(a)
    y = _keep(y, np.shape(a), axes, keepdims)
    return y if _is_nothing(initial, 0) else y + initial


def _is_nothing(initial: Any, neutral: float) -> bool:
    """Return whether a sum or product that begins with a number is without it."""
    return initial is None or (np.isscalar(initial) and bool(initial == neutral))


@adapter(np.mean)
def _mean(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    count = math.prod(np.shape(a)[i] for i in normal_axes(axis, np.ndim(a)))
    if not count:
        raise ValueError("there is no mean of no elements")
    return _sum(a, axis, keepdims=keepdims) / count


def over_last(function: BaseFunction) -> Any:
    """Adapt a reduction of the last axis to any axes, merged in C order."""

    def reduce(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
        shape = np.shape(a)
        axis = of_number(axis, len(shape))
        axes = normal_axes(axis, len(shape))
        if function.gives == "int" and axis is not None:
            axes = (one_axis(axis, len(shape)),)
        elif not axes and function.gives == "real":
            return a if function in (max_, min_) else _number(a)
        return _keep(function(merged(a, axes)), shape, axes, keepdims)

    return reduce


adapter(np.argmax)(over_last(argmax))
adapter(np.argmin)(over_last(argmin))


@adapter(np.prod)
def _prod(
    a: Any, axis: Axis = None, *, keepdims: bool = False, initial: Any = None
) -> Any:
    y = over_last(prod)(a, axis, keepdims=keepdims)
    return y if _is_nothing(initial, 1) else y * initial


def _extreme(function: BaseFunction, pairwise: np.ufunc) -> Any:
    """Adapt the largest or smallest; ``initial`` is one more element, the first."""
    reduce = over_last(function)

    def extreme(
        a: Any, axis: Axis = None, *, keepdims: bool = False, initial: Any = None
    ) -> Any:
        if initial is None:
            return reduce(a, axis, keepdims=keepdims)
        axes = normal_axes(of_number(axis, np.ndim(a)), np.ndim(a))
        if not math.prod(np.shape(a)[i] for i in axes):
            nothing = np.sum(a, axes, keepdims=keepdims)
            return np.broadcast_to(initial, np.shape(nothing))
        return pairwise(reduce(a, axis, keepdims=keepdims), initial)

    return extreme


adapter(np.max, np.amax)(_extreme(max_, np.maximum))
adapter(np.min, np.amin)(_extreme(min_, np.minimum))


def _number(a: Expression) -> Expression:
    """Convert booleans to numbers, which a sum or product counts."""
    return a * 1 if is_truth(a) else a


def _keep(y: Any, shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Any:
    """Restore reduced axes with size 1 if ``keepdims`` is set."""
    if not keepdims:
        return y
    return np.reshape(y, tuple(1 if i in axes else n for i, n in enumerate(shape)))
