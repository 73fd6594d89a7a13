"""NumPy calls that read and add at indices from the data, and that sort."""

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


def gather(indices: Array, x: Array, out: Array, where: str) -> list[Call]:
    """Return calls that read rows at indices.

    Shapes: indices (..., b, t) and x (..., b, n, r) give out (..., b, t, r).
    """
    width = x.shape[-1]
    rows = np.empty(indices.shape, np.intp)
    # No -1 in the shape: NumPy cannot infer the number of rows without elements.
    table, flat = (each.reshape(math.prod(each.shape[:-1]), width) for each in (x, out))
    return [
        *_rows(indices, x.shape, rows, where),
        (np.take, (table, rows.reshape(-1), 0, flat, "clip")),
    ]


def scatter(indices: Array, v: Array, out: Array, where: str) -> list[Call]:
    """Return calls that add rows at indices, element by element.

    Shapes: indices (..., b, t) and v (..., b, t, r) are added to out (..., b, n, r).
    NumPy adds at a vector of indices many times faster than at indices of whole rows.
    """
    width = out.shape[-1]
    rows = np.empty(indices.shape, np.intp)
    elements = np.empty((*indices.shape, width), np.intp)
    inside = np.arange(width)
    return [
        *_rows(indices, out.shape, rows, where),
        (np.multiply, (rows[..., None], np.intp(width), elements)),
        (np.add, (elements, inside, elements)),
        (np.add.at, (out.reshape(-1), elements.reshape(-1), v.reshape(-1))),
    ]


def _rows(
    indices: Array, shape: tuple[int, ...], rows: Array, where: str
) -> list[Call]:
    """Return calls that compute, for each index, its row among the rows of all tables.

    An axis of size 1 of the tables is broadcast along the indices' axis.
    """
    size = shape[-2]
    tables = (*shape[:-2], 1)
    first = np.arange(math.prod(tables)).reshape(tables) * size
    return [
        (_check, (indices, size, where)),
        (np.remainder, (indices, np.intp(max(size, 1)), rows)),
        (np.add, (rows, first, rows)),
    ]


def _check(indices: Array, size: int, where: str) -> None:
    """Raise a DataError if an index is out of range."""
    if not indices.size:
        return
    least, most = indices.min(), indices.max()
    if least < -size or most >= size:
        wrong = least if least < -size else most
        raise DataError(
            f"{where}: index {wrong} is outside an axis of {size}; indices from the "
            f"data must be from 0 to {size - 1}, or negative, counted from the end"
        )


def integer(x: Array, out: Array) -> list[Call]:
    """Return calls that convert numbers to integers, rounding towards 0."""
    return [(partial(np.copyto, casting="unsafe"), (out, x))]


def sort(x: Array, out: Array) -> list[Call]:
    """Return calls that sort the last axis."""
    return [(np.copyto, (out, x)), (out.sort, (-1,))]


def argsort(x: Array, out: Array) -> list[Call]:
    """Return calls that sort indices of the last axis; NumPy allocates a result."""
    return [(_argsort, (x, out))]


def _argsort(x: Array, out: Array) -> None:
    out[...] = x.argsort(-1, "stable")
