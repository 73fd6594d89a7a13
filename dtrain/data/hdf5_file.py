"""Read .h5 files: each array of numbers or text is a column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from dtrain.data.columns import Dataset
from dtrain.data.extra import needed
from dtrain.data.numpy_files import unreadable
from dtrain.data.table import Table
from dtrain.errors import DataError

_BYTES = 4 * 2**20  # in memory at a time


def read_hdf5(path: Path, source: str) -> Dataset:
    """Open an .h5 file. An array in a group is called ``group/array``.

    Links to other files are not followed, and attributes, which may hold pickles, are
    not read.
    """
    h5py = needed("h5py", source)
    names: list[str] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            names.append(name)

    try:
        with h5py.File(path) as file:
            file.visititems(visit)
    except (OSError, RuntimeError) as error:
        raise unreadable(source, error) from None

    def parts(names: Sequence[str], _: frozenset[str]) -> Iterator[Mapping[str, Any]]:
        try:
            with h5py.File(path) as file:
                arrays = {name: file[name] for name in names}
                yield from _slices(arrays, source)
        except (OSError, RuntimeError, ValueError) as error:
            raise unreadable(source, error) from None

    return Dataset(Table(names, source, parts=parts), source)


def _slices(arrays: Mapping[str, Any], source: str) -> Iterator[Mapping[str, Any]]:
    """Yield some rows of all arrays at a time."""
    for name, array in arrays.items():
        if array.ndim == 0 or array.dtype.names is not None:
            raise DataError(
                f"{source}: column {name!r} is a single value or a compound: save "
                "arrays whose first axis is the sample"
            )
    lengths = {len(array) for array in arrays.values()}
    if len(lengths) != 1:
        facts = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
        raise DataError(f"{source}: the numbers of rows differ: {facts}")
    (rows,) = lengths
    width = max(
        array.dtype.itemsize * prod(array.shape[1:]) for array in arrays.values()
    )
    height = max(1, _BYTES // max(1, width))
    for start in range(0, max(rows, 1), height):
        yield {name: _slice(array, start, height) for name, array in arrays.items()}


def _slice(array: Any, start: int, height: int) -> Any:
    if array.dtype.kind in "OS":  # text of variable or fixed length
        array = array.asstr()
    return array[start : start + height]
