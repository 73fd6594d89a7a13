"""Repeat, tile, pad, insert, delete and split arrays.

Each function is made of the views, gathers and joins of `dtrain.functions.shape`, which
have the transfer functions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.functions.axes import one_axis
from dtrain.functions.base import Expression, adapter, is_truth
from dtrain.functions.shape import Slices, place


@adapter(np.repeat)
def _repeat(a: Any, repeats: int | Sequence[int], axis: int | None = None) -> Any:
    if axis is None:
        a, axis = np.ravel(a), 0
    axis = one_axis(axis, np.ndim(a))
    shape = np.shape(a)
    if not isinstance(repeats, int | np.integer):
        places = np.repeat(np.arange(shape[axis]), repeats)
        return a[(slice(None),) * axis + (places,)]
    full = (*shape[: axis + 1], int(repeats), *shape[axis + 1 :])
    stretched = np.broadcast_to(np.expand_dims(a, axis + 1), full)
    merged = (*shape[:axis], shape[axis] * int(repeats), *shape[axis + 1 :])
    return np.reshape(stretched, merged)


@adapter(np.tile)
def _tile(A: Any, reps: int | Sequence[int]) -> Any:
    times = (reps,) if isinstance(reps, int | np.integer) else tuple(reps)
    rank = max(len(times), np.ndim(A))
    times = (1,) * (rank - len(times)) + times
    shape = (1,) * (rank - np.ndim(A)) + np.shape(A)
    pairs = [pair for each in zip(times, shape, strict=True) for pair in each]
    split = tuple(size for n in shape for size in (1, n))
    full = np.broadcast_to(np.reshape(A, split), tuple(pairs))
    return np.reshape(full, tuple(t * n for t, n in zip(times, shape, strict=True)))


@adapter(np.array_split)
def _array_split(
    ary: Any, indices_or_sections: int | Sequence[int], axis: int = 0
) -> list[Any]:
    axis = one_axis(axis, np.ndim(ary))
    n = np.shape(ary)[axis]
    if isinstance(indices_or_sections, int | np.integer):
        count = int(indices_or_sections)
        if count < 1:
            raise ValueError(f"there are no {count} parts")
        size, longer = divmod(n, count)
        points = [i * size + min(i, longer) for i in range(count + 1)]
    else:
        points = [0, *indices_or_sections, n]
    lead = (slice(None),) * axis
    return [ary[(*lead, slice(*ends))] for ends in itertools.pairwise(points)]


@adapter(np.split)
def _split(
    ary: Any, indices_or_sections: int | Sequence[int], axis: int = 0
) -> list[Any]:
    if isinstance(indices_or_sections, int | np.integer):
        n = np.shape(ary)[one_axis(axis, np.ndim(ary))]
        if indices_or_sections < 1 or n % indices_or_sections:
            raise ValueError(f"an axis of {n} has no {indices_or_sections} equal parts")
    return list(_array_split(ary, indices_or_sections, axis))


def _split_along(axis: int) -> Any:
    def split(ary: Any, indices_or_sections: int | Sequence[int]) -> list[Any]:
        flat = axis == 1 and np.ndim(ary) == 1  # hsplit splits vectors, too
        return list(np.split(ary, indices_or_sections, 0 if flat else axis))

    return split


for _function, _axis in ((np.hsplit, 1), (np.vsplit, 0), (np.dsplit, 2)):
    adapter(_function)(_split_along(_axis))


@adapter(np.unstack)
def _unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    return tuple(np.moveaxis(x, axis, 0))


@adapter(np.insert)
def _insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    """Insert values before a constant index."""
    if axis is None:
        arr, axis = np.ravel(arr), 0
    if not isinstance(obj, int | np.integer):
        raise ValueError("only one known place to insert at is supported")
    rows = np.moveaxis(arr, axis, 0)
    if not -len(rows) <= obj <= len(rows):
        raise ValueError(f"{obj} is outside an axis of {len(rows)}")
    at = int(obj) % len(rows) if obj < 0 else int(obj)
    new = np.broadcast_to(values, np.shape(rows)[1:])[None]
    return np.moveaxis(np.concatenate([rows[:at], new, rows[at:]]), 0, axis)


@adapter(np.delete)
def _delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    if axis is None:
        arr, axis = np.ravel(arr), 0
    axis = one_axis(axis, np.ndim(arr))
    left = np.delete(np.arange(np.shape(arr)[axis]), obj)
    return arr[(slice(None),) * axis + (left,)]


@adapter(np.broadcast_arrays)
def _broadcast_arrays(*args: Any) -> tuple[Any, ...]:
    shape = np.broadcast_shapes(*map(np.shape, args))
    return tuple(np.broadcast_to(x, shape) for x in args)


@adapter(np.meshgrid)
def _meshgrid(*xi: Any, sparse: bool = False, indexing: str = "xy") -> tuple[Any, ...]:
    if indexing not in ("xy", "ij"):
        raise ValueError(f"indexing {indexing!r} is neither 'xy' nor 'ij'")
    d = len(xi)
    axes = [1, 0, *range(2, d)] if indexing == "xy" and d > 1 else list(range(d))
    spread = tuple(
        np.reshape(x, tuple(-1 if i == axis else 1 for i in range(d)))
        for x, axis in zip(xi, axes, strict=True)
    )
    return spread if sparse else tuple(np.broadcast_arrays(*spread))


@adapter(np.atleast_1d)
def _atleast_1d(*arys: Any) -> Any:
    return _each(arys, lambda x: x if np.ndim(x) else np.reshape(x, (1,)))


@adapter(np.atleast_2d)
def _atleast_2d(*arys: Any) -> Any:
    return _each(
        arys,
        lambda x: x if np.ndim(x) > 1 else np.reshape(x, (1, math.prod(np.shape(x)))),
    )


@adapter(np.atleast_3d)
def _atleast_3d(*arys: Any) -> Any:
    def with_three(x: Any) -> Any:
        shape = np.shape(x)
        if len(shape) > 2:
            return x
        return np.reshape(x, (1, *shape, 1)[len(shape) == 2 :] if shape else (1, 1, 1))

    return _each(arys, with_three)


def _each(arrays: Sequence[Any], function: Any) -> Any:
    changed = tuple(function(x) for x in arrays)
    return changed if len(changed) > 1 else changed[0]


@adapter(np.vstack)
def _vstack(tup: Sequence[Any]) -> Any:
    return np.concatenate([_atleast_2d(x) for x in tup])


@adapter(np.hstack)
def _hstack(tup: Sequence[Any]) -> Any:
    rows = [_atleast_1d(x) for x in tup]
    return np.concatenate(rows, axis=0 if np.ndim(rows[0]) == 1 else 1)


@adapter(np.column_stack)
def _column_stack(tup: Sequence[Any]) -> Any:
    columns = (x if np.ndim(x) > 1 else np.transpose(_atleast_2d(x)) for x in tup)
    return np.concatenate(list(columns), axis=1)


@adapter(np.dstack)
def _dstack(tup: Sequence[Any]) -> Any:
    return np.concatenate([_atleast_3d(x) for x in tup], axis=2)


@adapter(np.append)
def _append(arr: Any, values: Any, axis: int | None = None) -> Any:
    return np.concatenate([arr, values], axis=axis)


@adapter(np.pad)
def _pad(array: Any, pad_width: Any, mode: str = "constant", **keywords: Any) -> Any:
    """Extend both ends of each axis by constants or copies of elements."""
    shape = np.shape(array)
    if isinstance(pad_width, dict):  # by axis
        by_axis = {one_axis(i, len(shape)): each for i, each in pad_width.items()}
        pad_width = [np.broadcast_to(by_axis.get(i, 0), 2) for i in range(len(shape))]
    if keywords.get("reflect_type", "even") != "even":
        raise ValueError("an odd reflection is not supported")
    if mode in ("edge", "reflect", "symmetric", "wrap"):
        places = np.arange(math.prod(shape)).reshape(shape)
        at = np.pad(places, pad_width, mode=mode, **keywords)  # type: ignore[call-overload]
        return np.ravel(array)[at]
    if mode != "constant":
        raise ValueError(f"mode {mode!r} is not supported")
    kind = bool if is_truth(array) else float  # booleans stay booleans
    around = np.pad(np.zeros(shape, kind), pad_width, **keywords)
    widths = np.broadcast_to(pad_width, (len(shape), 2))
    middle = zip(widths[:, 0].tolist(), shape, strict=True)
    at = Slices(tuple((start, n, 1) for start, n in middle))
    placed = place(array, at=(at,), shape=around.shape)
    return placed + around if around.any() else placed


def _constant(value: float) -> Callable[..., NDArray[Any]]:
    def like(a: Expression, dtype: Any = None, *, shape: Any = None) -> NDArray[Any]:
        return np.full(np.shape(a) if shape is None else shape, value, dtype)

    return like


adapter(np.zeros_like)(_constant(0.0))
adapter(np.ones_like)(_constant(1.0))


@adapter(np.full_like)
def _full_like(a: Any, fill_value: Any, *, shape: Any = None) -> Any:
    return np.broadcast_to(fill_value, np.shape(a) if shape is None else shape)
