"""Axes and diagonals: moved, turned and picked out by views.

Each function here is a few reshapes, transposes, slices and joins of
`dtrain.functions.shape`, whose transfer functions it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dtrain.functions.base import adapter
from dtrain.functions.shape import Slices, place

Axis = int | tuple[int, ...] | None


def normal_axes(axis: Axis, rank: int) -> tuple[int, ...]:
    """Axes as sorted, non-negative numbers; ``None`` means all."""
    if axis is None:
        return tuple(range(rank))
    axes = (axis,) if isinstance(axis, int | np.integer) else tuple(axis)
    for each in axes:
        if not -rank <= each < rank:
            raise ValueError(f"there is no axis {each} in {rank} axes")
    if len({each % rank for each in axes}) < len(axes):
        raise ValueError(f"an axis is named twice in {axes}")
    return tuple(sorted(each % rank for each in axes))


def one_axis(axis: int, rank: int) -> int:
    """An axis as a number from 0; ``ValueError`` if there is none."""
    (found,) = normal_axes(axis, rank)
    return found


@adapter(np.moveaxis)
def _moveaxis(
    a: Any, source: int | Sequence[int], destination: int | Sequence[int]
) -> Any:
    rank = np.ndim(a)
    start, end = (
        [one_axis(i, rank) for i in ([each] if isinstance(each, int) else each)]
        for each in (source, destination)
    )
    order = [i for i in range(rank) if i not in start]
    for position, axis in sorted(zip(end, start, strict=True)):
        order.insert(position, axis)
    return np.transpose(a, order)


@adapter(np.swapaxes)
def _swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    i, j = (one_axis(axis, np.ndim(a)) for axis in (axis1, axis2))
    order = list(range(np.ndim(a)))
    order[i], order[j] = j, i
    return np.transpose(a, order)


@adapter(np.matrix_transpose, np.linalg.matrix_transpose)
def _matrix_transpose(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


@adapter(np.expand_dims)
def _expand_dims(a: Any, axis: int | tuple[int, ...]) -> Any:
    count = 1 if isinstance(axis, int) else len(axis)
    new = normal_axes(axis, np.ndim(a) + count)
    sizes = iter(np.shape(a))
    rank = range(np.ndim(a) + count)
    return np.reshape(a, tuple(1 if i in new else next(sizes) for i in rank))


@adapter(np.squeeze)
def _squeeze(a: Any, axis: Axis = None) -> Any:
    shape = np.shape(a)
    gone = normal_axes(axis, len(shape))
    if axis is not None and any(shape[i] != 1 for i in gone):
        raise ValueError(f"an axis of {axis} is longer than 1")
    rest = (n for i, n in enumerate(shape) if n != 1 or i not in gone)
    return np.reshape(a, tuple(rest))


@adapter(np.flip)
def _flip(m: Any, axis: Axis = None) -> Any:
    axes = normal_axes(axis, np.ndim(m))
    turned = (slice(None, None, -1 if i in axes else None) for i in range(np.ndim(m)))
    return m[tuple(turned)]


@adapter(np.flipud)
def _flipud(m: Any) -> Any:
    return np.flip(m, 0)


@adapter(np.fliplr)
def _fliplr(m: Any) -> Any:
    return np.flip(m, 1)


@adapter(np.roll)
def _roll(a: Any, shift: int | Sequence[int], axis: Axis = None) -> Any:
    if axis is None:
        return np.reshape(np.roll(np.ravel(a), shift, 0), np.shape(a))
    shifts, axes = np.broadcast_arrays(shift, axis)
    for by, i in zip(shifts.ravel().tolist(), axes.ravel().tolist(), strict=True):
        n = np.shape(a)[one_axis(i, np.ndim(a))]
        cut = -by % n if n else 0
        if cut:
            moved = np.moveaxis(a, i, 0)
            moved = np.concatenate([moved[cut:], moved[:cut]])
            a = np.moveaxis(moved, 0, i)
    return a


@adapter(np.diagonal)
def _diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The diagonal of two axes, as a new last axis; a slice of the merged axes."""
    i, j = (one_axis(axis, np.ndim(a)) for axis in (axis1, axis2))
    rows, columns = np.shape(a)[i], np.shape(a)[j]
    moved = np.moveaxis(a, (i, j), (-2, -1))
    flat = np.reshape(moved, (*np.shape(moved)[:-2], rows * columns))
    start = offset if offset >= 0 else -offset * columns
    count = max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)
    stop = start + count * (columns + 1) if count else start
    return flat[..., start : min(stop, rows * columns) : columns + 1]


@adapter(np.linalg.diagonal)
def _linalg_diagonal(x: Any, *, offset: int = 0) -> Any:
    return np.diagonal(x, offset, -2, -1)


@adapter(np.diag)
def _diag(v: Any, k: int = 0) -> Any:
    if np.ndim(v) == 2:
        return np.diagonal(v, k)
    if np.ndim(v) != 1:
        raise ValueError("diag takes a vector or a matrix")
    n = np.shape(v)[0] + abs(k)
    at = Slices(((max(k, -k * n), np.shape(v)[0], n + 1),))
    return np.reshape(place(v, at=(at,), shape=(n * n,)), (n, n))


@adapter(np.trace)
def _trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    return np.sum(np.diagonal(a, offset, axis1, axis2), axis=-1)


@adapter(np.linalg.trace)
def _linalg_trace(x: Any, *, offset: int = 0) -> Any:
    return np.trace(x, offset, -2, -1)


@adapter(np.tril)
def _tril(m: Any, k: int = 0) -> Any:
    rows, columns = np.shape(m)[-2:]
    return np.where(np.tri(rows, columns, k=k, dtype=bool), m, 0)


@adapter(np.triu)
def _triu(m: Any, k: int = 0) -> Any:
    rows, columns = np.shape(m)[-2:]
    return np.where(np.tri(rows, columns, k=k - 1, dtype=bool), 0, m)


@adapter(np.diff)
def _diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    moved = np.moveaxis(a, axis, 0)
    for _ in range(n):
        moved = moved[1:] - moved[:-1]
    return np.moveaxis(moved, 0, axis)
