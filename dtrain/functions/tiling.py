"""Larger and smaller arrays of the same elements: repeated, tiled, padded, split.

Each function here is made of the views, gathers and joins of `dtrain.functions.shape`,
whose transfer functions it has.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.functions.axes import one_axis
from dtrain.functions.base import Expression, adapter
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
def _tile(a: Any, reps: int | Sequence[int]) -> Any:
    times = (reps,) if isinstance(reps, int | np.integer) else tuple(reps)
    rank = max(len(times), np.ndim(a))
    times = (1,) * (rank - len(times)) + times
    shape = (1,) * (rank - np.ndim(a)) + np.shape(a)
    pairs = [pair for each in zip(times, shape, strict=True) for pair in each]
    split = tuple(size for n in shape for size in (1, n))
    full = np.broadcast_to(np.reshape(a, split), tuple(pairs))
    return np.reshape(full, tuple(t * n for t, n in zip(times, shape, strict=True)))


@adapter(np.array_split)
def _array_split(
    ary: Any, indices_or_sections: int | Sequence[int], axis: int = 0
) -> list[Any]:
    axis = one_axis(axis, np.ndim(ary))
    n = np.shape(ary)[axis]
    if isinstance(indices_or_sections, int | np.integer):
        count = int(indices_or_sections)
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
        if n % indices_or_sections:
            raise ValueError(f"an axis of {n} has no {indices_or_sections} equal parts")
    return list(_array_split(ary, indices_or_sections, axis))


@adapter(np.atleast_1d)
def _atleast_1d(*arrays: Any) -> Any:
    return _each(arrays, lambda x: x if np.ndim(x) else np.reshape(x, (1,)))


@adapter(np.atleast_2d)
def _atleast_2d(*arrays: Any) -> Any:
    return _each(
        arrays,
        lambda x: x if np.ndim(x) > 1 else np.reshape(x, (1, math.prod(np.shape(x)))),
    )


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


@adapter(np.append)
def _append(arr: Any, values: Any, axis: int | None = None) -> Any:
    return np.concatenate([arr, values], axis=axis)


@adapter(np.pad)
def _pad(array: Any, pad_width: Any, mode: str = "constant", **keywords: Any) -> Any:
    """Longer at both ends of each axis, by constants or by copies of elements."""
    shape = np.shape(array)
    if mode in ("edge", "reflect", "symmetric", "wrap"):
        places = np.arange(math.prod(shape)).reshape(shape)
        at = np.pad(places, pad_width, mode=mode, **keywords)  # type: ignore[call-overload]
        return np.ravel(array)[at]
    if mode != "constant":
        raise ValueError(f"mode {mode!r} is not supported")
    around = np.pad(np.zeros(shape), pad_width, **keywords)
    widths = np.broadcast_to(pad_width, (len(shape), 2))
    middle = zip(widths[:, 0].tolist(), shape, strict=True)
    at = Slices(tuple((start, n, 1) for start, n in middle))
    return place(array, at=(at,), shape=around.shape) + around


def _constant(value: float) -> Callable[[Expression], NDArray[Any]]:
    def like(a: Expression) -> NDArray[Any]:
        return np.full(np.shape(a), value)

    return like


adapter(np.zeros_like)(_constant(0.0))
adapter(np.ones_like)(_constant(1.0))


@adapter(np.full_like)
def _full_like(a: Any, fill_value: Any) -> Any:
    return np.broadcast_to(fill_value, np.shape(a))
