"""Reading and adding at places known only from the data, and sorting, in NumPy."""

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
    """Return rows at places: (..., b, t) of (..., b, n, r) to (..., b, t, r)."""
    width = x.shape[-1]
    rows = np.empty(places.shape, np.intp)
    # Said in full: of no elements NumPy cannot tell how many rows they are.
    table, flat = (each.reshape(math.prod(each.shape[:-1]), width) for each in (x, out))
    return [
        *_rows(places, x.shape, rows, where),
        (np.take, (table, rows.reshape(-1), 0, flat, "clip")),
    ]


def scatter(places: Array, v: Array, out: Array, where: str) -> list[Call]:
    """Rows added at places: (..., b, t, r) to (..., b, n, r), element by element.

    NumPy adds at a vector of places many times faster than at those of whole rows.
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
    """Return the number of each place's row, counted through all of the tables.

    A table's axis of size 1 stretches along the places'.
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
    """Refuse places that are not there."""
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
    """Numbers as integers, rounded towards 0."""
    return [(partial(np.copyto, casting="unsafe"), (out, x))]


def sort(x: Array, out: Array) -> list[Call]:
    """Return the last axis in order."""
    return [(np.copyto, (out, x)), (out.sort, (-1,))]


def argsort(x: Array, out: Array) -> list[Call]:
    """The places of the last axis in order; NumPy has no way to give it memory."""
    return [(_argsort, (x, out))]


def _argsort(x: Array, out: Array) -> None:
    out[...] = x.argsort(-1, "stable")
