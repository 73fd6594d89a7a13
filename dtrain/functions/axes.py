"""Functions that move, reverse and select axes and diagonals.

Each function is made of the reshapes, transposes, slices and joins of
`dtrain.functions.shape`, which have the transfer functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.functions.base import adapter, is_truth
from dtrain.functions.shape import Slices, place

Axis = int | tuple[int, ...] | None


def normal_axes(axis: Axis, rank: int) -> tuple[int, ...]:
    """Return axes as sorted, non-negative numbers; ``None`` means all."""
    if axis is None:
        return tuple(range(rank))
    axes = (axis,) if isinstance(axis, int | np.integer) else tuple(axis)
    for each in axes:
        if not -rank <= each < rank:
            raise ValueError(f"there is no axis {each} in {rank} axes")
    if len({each % rank for each in axes}) < len(axes):
        raise ValueError(f"an axis is named twice in {axes}")
    return tuple(sorted(each % rank for each in axes))


def of_number(axis: Any, rank: int) -> Any:
    """Return ``None`` for the axes 0 and −1 of a scalar, which NumPy accepts."""
    number = not rank and isinstance(axis, int | np.integer)
    return None if number and axis in (0, -1) else axis


def one_axis(axis: Any, rank: int) -> int:
    """Return an axis as a number from 0; raise ``ValueError`` if there is none."""
    if not isinstance(axis, int | np.integer):
        raise ValueError(f"one axis is wanted, not {axis}")
    (found,) = normal_axes(int(axis), rank)
    return found


def listed(x: Any) -> list[Any]:
    """Return one number or several as a list."""
    return [x] if isinstance(x, int | np.integer) else list(x)


def merged(a: Any, axes: Sequence[int]) -> Any:
    """Return the elements of some axes, in C order, as a new last axis."""
    shape = np.shape(a)
    rest = tuple(i for i in range(len(shape)) if i not in axes)
    size = math.prod(shape[i] for i in axes)
    moved = np.transpose(a, rest + tuple(axes))
    return np.reshape(moved, (*(shape[i] for i in rest), size))


@adapter(np.moveaxis)
def _moveaxis(
    a: Any, source: int | Sequence[int], destination: int | Sequence[int]
) -> Any:
    rank = np.ndim(a)
    start, end = (
        [one_axis(i, rank) for i in listed(each)] for each in (source, destination)
    )
    if len(set(start)) < len(start) or len(set(end)) < len(end):
        raise ValueError(f"an axis is named twice in {source} or {destination}")
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
    rank = np.ndim(a) + len(listed(axis))
    new = normal_axes(axis, rank)
    sizes = iter(np.shape(a))
    return np.reshape(a, tuple(1 if i in new else next(sizes) for i in range(rank)))


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
    """Return the diagonal of two axes as a new last axis."""
    i, j = (one_axis(axis, np.ndim(a)) for axis in (axis1, axis2))
    if i == j:
        raise ValueError(f"axis {axis1} has no diagonal with itself")
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


def _below(m: Any, k: int) -> NDArray[np.bool]:
    """Return which elements are on or below a diagonal; a vector is repeated rows."""
    rows, columns = (np.shape(m) * 2)[-2:]
    return np.tri(rows, columns, k, bool)


def _nothing(m: Any) -> float | bool:
    """Return a zero of the same dtype."""
    return False if is_truth(m) else 0.0


@adapter(np.tril)
def _tril(m: Any, k: int = 0) -> Any:
    return np.where(_below(m, k), m, _nothing(m))


@adapter(np.triu)
def _triu(m: Any, k: int = 0) -> Any:
    return np.where(_below(m, k - 1), _nothing(m), m)


@adapter(np.rollaxis)
def _rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    rank = np.ndim(a)
    axis = one_axis(axis, rank)
    start += rank if start < 0 else 0
    if not 0 <= start <= rank:
        raise ValueError(f"there is no place {start} among {rank} axes")
    return np.moveaxis(a, axis, start - 1 if start > axis else start)


@adapter(np.diagflat)
def _diagflat(v: Any, k: int = 0) -> Any:
    return np.diag(np.ravel(v), k)


@adapter(np.apply_along_axis)
def _apply_along_axis(
    func1d: Any, axis: int, arr: Any, *args: Any, **kwargs: Any
) -> Any:
    """Apply a function to each line along an axis, with separate nodes for each."""
    axis = one_axis(axis, np.ndim(arr))
    lines = np.moveaxis(arr, axis, -1)
    lead = np.shape(lines)[:-1]
    values = [func1d(lines[at], *args, **kwargs) for at in np.ndindex(*lead)]
    if not values:
        raise ValueError("there is no line to apply a function to")
    new = np.ndim(values[0])
    y = np.reshape(np.stack(values), lead + np.shape(values[0]))
    last = range(len(lead), len(lead) + new)
    return np.moveaxis(y, last, range(axis, axis + new))


@adapter(np.rot90)
def _rot90(m: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Any:
    first, second = (one_axis(axis, np.ndim(m)) for axis in axes)
    if first == second:
        raise ValueError(f"axes {axes} are one")
    for _ in range(k % 4):
        m = np.flip(np.swapaxes(m, first, second), first)
    return m
