"""Reductions of axes: sums, products, and the largest and smallest elements.

The lecture calls them pooling ("Important special cases": reduce). The Jacobian of + is
a row of ones. That of max is the indicator of the chosen element; among equal elements
the first is chosen, as by ``argmax``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dtrain.functions.axes import Axis, normal_axes, of_number, one_axis
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
    a: Any, axis: Axis = None, *, keepdims: bool = False, where: Any = True
) -> Any:
    a = chosen(a, where, 0)
    axes = normal_axes(of_number(axis, np.ndim(a)), np.ndim(a))
    y = sum_(a, axis=axes) if axes else _number(a)
    return _keep(y, np.shape(a), axes, keepdims)


@adapter(np.mean)
def _mean(
    a: Any, axis: Axis = None, *, keepdims: bool = False, where: Any = True
) -> Any:
    count = math.prod(np.shape(a)[i] for i in normal_axes(axis, np.ndim(a)))
    if not count:
        raise ValueError("there is no mean of no elements")
    total = _sum(a, axis, keepdims=keepdims, where=where)
    return total / counted(a, axis, keepdims, where)


def chosen(a: Expression, where: Any, instead: Any) -> Expression:
    """Replace the elements of which ``where`` is false; True chooses all of them.

    Raises:
        ValueError: ``where`` has a shape that does not broadcast to that of ``a``.
    """
    if where is True:
        return a
    if np.broadcast_shapes(np.shape(a), np.shape(where)) != np.shape(a):
        raise ValueError(
            f"where of shape {np.shape(where)} does not broadcast to {np.shape(a)}"
        )
    return np.where(where, a, instead)


def counted(a: Expression, axis: Axis, keepdims: bool, where: Any) -> Expression:
    """Return the number of elements of axes, of which ``where`` is true."""
    if where is True:
        return math.prod(np.shape(a)[i] for i in normal_axes(axis, np.ndim(a)))
    mask = np.broadcast_to(np.not_equal(where, 0), np.shape(a))
    # The first function must see a symbol, which ``where`` may not be.
    return _sum(mask, axis, keepdims=keepdims)


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
        rest = tuple(i for i in range(len(shape)) if i not in axes)
        merged = math.prod(shape[i] for i in axes)
        moved = np.transpose(a, rest + axes)
        last = np.reshape(moved, (*(shape[i] for i in rest), merged))
        return _keep(function(last), shape, axes, keepdims)

    return reduce


def _with_initial(function: BaseFunction, combine: Any, identity: float | None) -> Any:
    """Adapt a reduction that takes a first value, and which elements it takes."""
    plain = over_last(function)

    def reduce(
        a: Any,
        axis: Axis = None,
        *,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = True,
    ) -> Any:
        if initial is np._NoValue:
            initial = None
        if where is not True:
            instead = identity if initial is None else initial
            if instead is None:
                raise ValueError(
                    "no largest or smallest element if where is false everywhere: say "
                    "what it is then with initial="
                )
            a = chosen(a, where, instead if identity is None else identity)
        y = plain(a, axis, keepdims=keepdims)
        return y if initial is None else combine(y, initial)

    return reduce


for _function, _numpy_function, _combine, _identity in (
    (max_, np.max, np.maximum, None),
    (max_, np.amax, np.maximum, None),
    (min_, np.min, np.minimum, None),
    (min_, np.amin, np.minimum, None),
    (prod, np.prod, np.multiply, 1),
):
    adapter(_numpy_function)(_with_initial(_function, _combine, _identity))

adapter(np.argmax)(over_last(argmax))
adapter(np.argmin)(over_last(argmin))


def _number(a: Expression) -> Expression:
    """Convert booleans to numbers, which a sum or product counts."""
    return a * 1 if is_truth(a) else a


def _keep(y: Any, shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Any:
    """Restore reduced axes with size 1 if ``keepdims`` is set."""
    if not keepdims:
        return y
    return np.reshape(y, tuple(1 if i in axes else n for i, n in enumerate(shape)))
