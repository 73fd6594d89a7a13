"""NumPy calls that gather and scatter at indices from the data, and that sort."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.errors import DataError

Array = NDArray[Any]
Call = tuple[Callable[..., Any], tuple[Any, ...]]


def gather(places: Array, x: Array, out: Array, where: str) -> list[Call]:
    """Return the calls that gather rows at indices.

    Indices (..., b, t) into x (..., b, n, r) give out (..., b, t, r).
    """
    width = x.shape[-1]
    rows = np.empty(places.shape, np.intp)
    # Give the number of rows: NumPy cannot infer it for arrays without elements.
    table, flat = (each.reshape(math.prod(each.shape[:-1]), width) for each in (x, out))
    return [
        *_rows(places, x.shape, rows, where),
        (np.take, (table, rows.reshape(-1), 0, flat, "clip")),
    ]


def scatter(places: Array, v: Array, out: Array, where: str) -> list[Call]:
    """Return the calls that add rows v (..., b, t, r) at indices to out (..., b, n, r).

    They add element by element: NumPy adds at a vector of indices of elements many
    times faster than at indices of rows.
    """
    width = out.shape[-1]
    rows = np.empty(places.shape, np.intp)
    elements = np.empty((*places.shape, width), np.intp)
    inside = np.arange(width)
    return [
        *_rows(places, out.shape, rows, where),
        (np.multiply, (rows[..., None], np.intp(width), elements)),
        (np.add, (elements, inside, elements)),
        (np.add.at, (out.reshape(-1), elements.reshape(-1), v.reshape(-1))),
    ]


def _rows(places: Array, shape: tuple[int, ...], rows: Array, where: str) -> list[Call]:
    """Return the calls that compute each index's row number among all tables' rows.

    An axis of size 1 of the tables broadcasts along the indices' axis.
    """
    size = shape[-2]
    tables = (*shape[:-2], 1)
    first = np.arange(math.prod(tables)).reshape(tables) * size
    return [
        (_check, (places, size, where)),
        (np.remainder, (places, np.intp(max(size, 1)), rows)),
        (np.add, (rows, first, rows)),
    ]


def _check(places: Array, size: int, where: str) -> None:
    """Raise a DataError if an index is out of range."""
    if not places.size:
        return
    least, most = places.min(), places.max()
    if least < -size or most >= size:
        wrong = least if least < -size else most
        raise DataError(
            f"{where}: index {wrong} is outside an axis of {size}; indices from the "
            f"data must be from 0 to {size - 1}, or negative, counted from the end"
        )


def integer(x: Array, out: Array) -> list[Call]:
    """Return the calls that convert numbers to integers, rounded towards 0."""
    return [(partial(np.copyto, casting="unsafe"), (out, x))]


def sort(x: Array, out: Array) -> list[Call]:
    """Return the calls that sort along the last axis."""
    return [(np.copyto, (out, x)), (out.sort, (-1,))]


def argsort(x: Array, out: Array) -> list[Call]:
    """Return the calls of a stable argsort along the last axis.

    NumPy's argsort has no ``out`` argument, so it allocates.
    """
    return [(_argsort, (x, out))]


def _argsort(x: Array, out: Array) -> None:
    out[...] = x.argsort(-1, "stable")
