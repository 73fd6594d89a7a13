"""Rows with missing values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dtrain.data.parts import Allocate, Collector
from dtrain.data.ragged import Ragged
from dtrain.data.values import MISSING, Coded, Values
from dtrain.errors import DataError

POLICIES = {
    "refuse": "end with the row and column of the first missing value, unless the "
    "program handles NaN in that input",
    "skip": "leave out the rows with a missing value in a column that is read",
}
"""What happens where a value is missing."""


class Found(NamedTuple):
    """Columns that were read.

    Attributes:
        columns: by name.
        rows: their rows in the data set; ``None`` if these are all.
        left_out: how many rows were left out.
    """

    columns: Mapping[str, Values]
    rows: NDArray[np.intp] | None = None
    left_out: int = 0


def without_gaps(
    columns: Mapping[str, Values], source: str, allocate: Allocate
) -> Found:
    """Leave out the rows in which a column has a missing value.

    Args:
        columns: by name, all of one length.
        source: the name of the data in messages.
        allocate: makes the arrays of the rows that are left.

    Raises:
        DataError: no row is left.
    """
    kept = np.logical_and.reduce([_is_there(column) for column in columns.values()])
    if kept.all():
        return Found(columns)
    if not kept.any():
        raise DataError(f"{source}: every row has a missing value in {_names(columns)}")
    collector = Collector(list(columns), source)
    collector.add({name: _of_rows(column, kept) for name, column in columns.items()})
    rows = np.flatnonzero(kept)
    return Found(collector.columns(allocate), rows, len(kept) - len(rows))


def _names(columns: Mapping[str, Values]) -> str:
    names = [f"{name!r}" for name in columns]
    return ", ".join(names[:9]) + (", ..." if len(names) > 9 else "")


def _is_there(column: Values) -> NDArray[np.bool_]:
    """Return for each row whether no value of it is missing."""
    if isinstance(column, Coded):
        return np.not_equal(column.codes, MISSING)
    if column.dtype.kind != "f":
        return np.ones(len(column), bool)
    if isinstance(column, Ragged):
        wrong = np.isnan(column.values).reshape(len(column.values), -1).any(axis=1)
        return ~np.logical_or.reduceat(wrong, column.starts)
    axes = tuple(range(1, column.ndim))
    found: NDArray[np.bool_] = ~np.any(np.isnan(column), axis=axes)
    return found


def _of_rows(column: Values, kept: NDArray[np.bool_]) -> Values:
    if isinstance(column, Coded):
        return Coded(column.codes[kept], column.labels)
    return column[kept]
