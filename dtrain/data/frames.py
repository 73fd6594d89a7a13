"""Tables in memory: frames of pandas, polars, Arrow and xarray, structured arrays.

They are recognised by what they offer, so none of these packages is imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dtrain.data.arrow_files import of_batch
from dtrain.data.columns import Dataset
from dtrain.data.table import Table
from dtrain.data.values import Values
from dtrain.errors import DataError


def is_frame(value: Any) -> bool:
    """Return whether a value is a table of named columns, other than a mapping."""
    if isinstance(value, np.ndarray):
        return value.dtype.names is not None
    if isinstance(value, type):
        return False
    return (
        _is_arrow(value)
        or hasattr(value, "data_vars")
        or (hasattr(value, "columns") and hasattr(value, "__getitem__"))
    )


def _is_arrow(value: Any) -> bool:
    return hasattr(value, "column_names") and hasattr(value, "to_batches")


def read_frame(frame: Any) -> Dataset:
    """Return the columns of a frame.

    Raises:
        DataError: a name is not a text. Later, when columns are read: one does not hold
            numbers or text, or samples are not along one dimension of an xarray
            dataset.
    """
    source = f"the {type(frame).__name__}"
    if isinstance(frame, np.ndarray):
        names = list(frame.dtype.names or ())
        return Dataset(Table(names, "the structured array", arrays=_of(frame)), source)
    if _is_arrow(frame):
        return _of_arrow_table(frame, "the Arrow table")
    if hasattr(frame, "data_vars"):
        return _of_xarray(frame, "the xarray dataset")
    names = list(frame.columns)
    for name in names:
        if not isinstance(name, str):
            raise DataError(f"{source}: {name!r} is not a column name: use strings")
    return Dataset(Table(names, source, arrays=_of(frame)), source)


def _of(frame: Any) -> Any:
    def read(names: Sequence[str], _: frozenset[str]) -> dict[str, Any]:
        return {name: frame[name] for name in names}

    return read


def _of_arrow_table(table: Any, source: str) -> Dataset:
    def parts(names: Sequence[str], _: frozenset[str]) -> Iterator[dict[str, Values]]:
        for batch in table.select(list(names)).to_batches():
            yield of_batch(batch, source, names)

    return Dataset(Table(table.column_names, source, parts=parts), source)


def _of_xarray(dataset: Any, source: str) -> Dataset:
    """Return variables and coordinates, whose samples are along the first dimension."""
    names = [*map(str, dataset.data_vars), *map(str, dataset.coords)]

    def read(names: Sequence[str], _: frozenset[str]) -> dict[str, Any]:
        arrays = {name: dataset[name] for name in names}
        first = {name: array.dims[0] for name, array in arrays.items() if array.dims}
        if len(set(first.values())) > 1:
            facts = ", ".join(f"{name} along {dim!r}" for name, dim in first.items())
            raise DataError(
                f"{source}: samples must be along one dimension, the first of each "
                f"variable: {facts}; use .transpose() or .stack()"
            )
        return {name: np.asarray(array) for name, array in arrays.items()}

    return Dataset(Table(names, source, arrays=read), source)
