"""Gather, scatter and sort: elements at indices that depend on the data.

The adjoint of an element is added at the index it was read from, so `gather` and
`scatter` are each other's transfer function. An input of the program that is used as an
index must be an integer and stays one; ``.astype(int)`` truncates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.functions.axes import one_axis
from dtrain.functions.base import (
    BaseFunction,
    Cost,
    Expression,
    Shape,
    adapter,
    register,
)
from dtrain.functions.piecewise import within

integer = register(
    BaseFunction(
        name="integer",
        value=lambda x, *, cast=False: np.asarray(x).astype(np.intp),
        shape=lambda shape, *, cast=False: shape,
        takes=None,
        gives="int",
        branch=np.trunc,
        doc="A number as an integer, rounded towards 0; passes nothing backward. "
        "Without ``cast`` it is an index, and data that are no integers are refused.",
    )
)


def _gather_shape(places: Shape, x: Shape, *, batch: int) -> Shape:
    if places[:batch] != x[:batch]:
        raise ValueError(f"{places[:batch]} and {x[:batch]} do not fit")
    return places + x[batch + 1 :]


def _rows(places: Any, batch: int, size: int, width: int) -> NDArray[np.intp]:
    """Return the offset of each index in an array with so many rows for each batch."""
    lead = np.shape(places)[:batch]
    inner = (1,) * (np.ndim(places) - batch)
    first = np.arange(math.prod(lead)).reshape(lead + inner) * size
    return np.asarray((first + np.asarray(places) % size) * width)


def _gather_value(places: Any, x: Any, *, batch: int) -> NDArray[Any]:
    size, rest = np.shape(x)[batch], np.shape(x)[batch + 1 :]
    rows = np.reshape(x, (math.prod(np.shape(x)[: batch + 1]), *rest))
    return np.asarray(rows[_rows(places, batch, size, 1)])


gather: BaseFunction = register(
    BaseFunction(
        name="gather",
        value=_gather_value,
        shape=_gather_shape,
        vjp=lambda v, y, places, x, *, batch: (
            None,
            scatter(places, v, batch=batch, size=np.shape(x)[batch]),
        ),
        takes=None,
        gives=None,
        doc="Rows of x at integer indices, negative ones from the end: shapes (b, t) "
        "and (b, n, r), where the first ``batch`` axes are b, give (b, t, r).",
    )
)


def _scatter_shape(
    places: Shape, v: Shape, *, batch: int, size: int, over_block: bool = False
) -> Shape:
    if v[: len(places)] != places:
        raise ValueError(f"{v} does not begin with {places}")
    return (*places[:batch], size, *v[len(places) :])


def _scatter_value(
    places: Any, v: Any, *, batch: int, size: int, over_block: bool = False
) -> NDArray[Any]:
    out = np.zeros(
        _scatter_shape(np.shape(places), np.shape(v), batch=batch, size=size)
    )
    rest = np.shape(v)[np.ndim(places) :]
    rows = out.reshape(math.prod(out.shape[: batch + 1]), *rest)
    np.add.at(rows, _rows(places, batch, size, 1), v)
    return out


scatter: BaseFunction = register(
    BaseFunction(
        name="scatter",
        cost=Cost.SORT,
        value=_scatter_value,
        shape=_scatter_shape,
        vjp=lambda v, y, places, x, *, batch, **_: (
            None,
            gather(places, v, batch=batch),
        ),
        takes=None,
        gives="real",
        doc="Zeros with rows added at integer indices, in order: shapes (b, t) and "
        "(b, t, r) give (b, size, r).",
    )
)

argsort = register(
    BaseFunction(
        name="argsort",
        cost=Cost.SORT,
        value=lambda x: np.argsort(x, axis=-1, kind="stable"),
        shape=lambda shape: shape,
        gives="int",
        branch=lambda x: np.argsort(x, axis=-1, kind="stable"),
        doc="The indices that sort the last axis; equal elements stay in their order.",
    )
)

sort = register(
    BaseFunction(
        name="sort",
        cost=Cost.SORT,
        value=lambda x: np.sort(x, axis=-1),
        shape=lambda shape: shape,
        vjp=lambda v, y, x: (
            scatter(argsort(x), v, batch=np.ndim(x) - 1, size=np.shape(x)[-1]),
        ),
        branch=lambda x: np.argsort(x, axis=-1, kind="stable"),
        doc="The last axis, sorted.",
    )
)


def varies(index: Any) -> bool:
    """Return whether an index depends on the data."""
    return hasattr(index, "__dtrain_index__")


def at_places(x: Expression, indices: Sequence[Any], axis: int) -> Expression:
    """Return ``x[:, i, j]`` for indices whose shapes broadcast."""
    places = [i.__dtrain_index__() if varies(i) else i for i in indices]
    shape = np.broadcast_shapes(*map(np.shape, places))
    t, count = len(shape), len(indices)
    # Constant indices first: they need no gather.
    order = sorted(range(count), key=lambda k: varies(places[k]))
    y = np.moveaxis(x, [axis + k for k in order], range(count))
    spread = [np.broadcast_to(places[k], shape) for k in order]
    known = tuple(i for i in spread if not varies(i))
    y, batch = (y[known], t) if known else (y, 0)
    for i in spread[len(known) :]:
        y, batch = gather(i, y, batch=batch), t
    return np.moveaxis(y, range(t), range(axis, axis + t))


def getitem(x: Expression, key: tuple[Any, ...]) -> Expression:
    """Return ``x[key]`` if some index in the key depends on the data."""
    key = tuple(map(_known, key))
    used = sum(each is not None and each is not Ellipsis for each in key)
    if any(each is Ellipsis for each in key):
        gap = next(i for i, each in enumerate(key) if each is Ellipsis)
        whole = (slice(None),) * (np.ndim(x) - used)
        key = key[:gap] + whole + key[gap + 1 :]
    arrays = [varies(each) or isinstance(each, np.ndarray) for each in key]
    found = [i for i, each in enumerate(arrays) if each]
    numbers = [i for i, each in enumerate(key) if isinstance(each, int | np.integer)]
    y = x[tuple(slice(None) if i in found else each for i, each in enumerate(key))]
    axes = [i - sum(j < i for j in numbers) for i in found]
    if not any(np.ndim(key[i]) for i in found):
        for i, axis in reversed(list(zip(found, axes, strict=True))):
            y = at_places(y, [key[i]], axis)
        return y
    together = sorted(found + numbers)
    if together[-1] - together[0] >= len(together):
        raise ValueError("indices from the data are to stand side by side; index twice")
    return at_places(y, [key[i] for i in found], axes[0])


def _known(index: Any) -> Any:
    """Return a constant index as an array or a number."""
    if not isinstance(index, list | tuple | np.ndarray | bool | np.bool):
        return index
    places = np.asarray(index)
    if places.dtype.kind not in "iu":
        raise ValueError("an index from the data beside a mask; index twice")
    return places if places.ndim else int(places)


@adapter(np.take)
def _take(a: Any, indices: Any, axis: int | None = None, *, mode: str = "raise") -> Any:
    """Take elements, or rows of an axis, at constant indices or at an input's."""
    if axis is None:
        a, axis = np.ravel(a), 0
    axis = one_axis(axis, np.ndim(a))
    if mode != "raise":
        whole = indices.__dtrain_index__() if varies(indices) else np.asarray(indices)
        indices = integer(within(whole, np.shape(a)[axis], mode))
    if varies(indices):
        return at_places(a, [indices], axis)
    return a[(slice(None),) * axis + (np.asarray(indices),)]


@adapter(np.take_along_axis)
def _take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    """Take elements of each line along an axis, at indices for that line."""
    if axis is None:
        return np.take(np.ravel(arr), indices)
    places = indices.__dtrain_index__() if varies(indices) else np.asarray(indices)
    x, places = (np.moveaxis(each, axis, -1) for each in (arr, places))
    lead = np.broadcast_shapes(np.shape(x)[:-1], np.shape(places)[:-1])
    x, places = (
        np.broadcast_to(each, (*lead, np.shape(each)[-1])) for each in (x, places)
    )
    if varies(places):
        return np.moveaxis(gather(places, x, batch=len(lead)), -1, axis)
    grid = np.indices(places.shape)[:-1]
    return np.moveaxis(x[(*grid, places)], -1, axis)


@adapter(np.argsort)
def _argsort(a: Any, axis: int | None = -1, kind: str | None = None) -> Any:
    """Return the sorting indices; every ``kind`` is stable."""
    return _sorted(argsort, a, axis)


@adapter(np.sort)
def _sort(a: Any, axis: int | None = -1, kind: str | None = None) -> Any:
    return _sorted(sort, a, axis)


def _sorted(function: BaseFunction, a: Any, axis: int | None) -> Any:
    if axis is None:
        return function(np.ravel(a))
    return np.moveaxis(function(np.moveaxis(a, axis, -1)), -1, axis)
