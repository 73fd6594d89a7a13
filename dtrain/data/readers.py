"""From what a person has, a mapping or a path, to named columns.

Nothing that is read can run code: arrays of Python objects (pickles) are refused.
"""

from __future__ import annotations

import os
import re
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dtrain.data.columns import Dataset, as_array
from dtrain.data.csv_file import read_csv
from dtrain.errors import DataError

ACCEPTED = (
    "a mapping of names to arrays, an .npz file, a folder of .npy files, or a .csv "
    "file with a header line"
)

# What NumPy and zipfile raise for files that are damaged.
_FAULTS = (
    ValueError,
    EOFError,
    KeyError,
    MemoryError,  # a damaged header may ask for any size
    RuntimeError,  # encrypted, or a compression that is not there
    tokenize.TokenError,  # NumPy reads a header as Python's tokens
    zipfile.BadZipFile,
    zlib.error,
)


def open_data(
    source: Mapping[str, ArrayLike] | str | os.PathLike[str] | Dataset,
) -> Dataset:
    """Open data as named columns.

    The arrays of a mapping are used where they are; those of a folder are memory-mapped
    and stay on disk, shared by the ranks of a node, so this is the form for data larger
    than memory; ``.npz`` and ``.csv`` files are read. Numbers in the other byte order
    are converted, in memory.

    Raises:
        DataError: this is no data that dtrain knows, or it is missing or damaged.

    >>> open_data({"p": [1.0, 2.0], "t": [0, 1]}).columns["t"]
    array([0, 1])

    """
    if isinstance(source, Dataset):
        return source
    if isinstance(source, Mapping):
        return _read_mapping(source)
    if not isinstance(source, str | os.PathLike):
        raise DataError(f"data is {type(source).__name__}: give {ACCEPTED}")
    path, name = Path(source), os.fspath(source)
    try:
        if path.is_dir():
            return _read_folder(path, name)
        if not path.exists():
            raise DataError(f"{name}: there is no such file or folder")
        if path.suffix.lower() == ".npz":
            return _read_npz(path, name)
        if path.suffix.lower() == ".csv":
            return read_csv(path, name)
    except OSError as error:
        raise _unreadable(name, error) from None
    raise DataError(f"{name}: give {ACCEPTED}")


def _read_mapping(source: Mapping[str, ArrayLike]) -> Dataset:
    name = "the mapping of arrays"
    columns = {}
    for key in source:
        if not isinstance(key, str):
            raise DataError(f"{name}: {key!r} is no column name: names are strings")
        try:
            columns[key] = _column(name, key, source[key])
        except ValueError as error:  # ragged lists, pickles in an open .npz
            raise _unreadable(f"{name}: column {key!r}", error) from None
    return _dataset(columns, name)


def _read_npz(path: Path, name: str) -> Dataset:
    if not zipfile.is_zipfile(path):
        raise DataError(f"{name}: not an .npz file, or only a part of one")
    columns, where = {}, name
    try:
        # NumPy leaves a file open that it opened and could not read: open it here.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            for key in arrays.files:
                where = f"{name}: column {key!r}"
                columns[key] = _column(name, key, arrays[key])
    except _FAULTS as error:
        raise _unreadable(where, error) from None
    return _dataset(columns, name)


def _read_folder(path: Path, name: str) -> Dataset:
    columns = {}
    for file in _in_natural_order(path.glob("[!.]*.npy")):
        try:
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        except _FAULTS as error:
            raise _unreadable(str(file), error) from None
        columns[file.stem] = _column(name, file.stem, array)
    if not columns:
        raise DataError(f"{name}: the folder has no .npy files; give {ACCEPTED}")
    return _dataset(columns, name)


def _in_natural_order(files: Iterable[Path]) -> list[Path]:
    """Sort pixel_2 before pixel_10, so that a range of columns is what it looks."""

    def key(file: Path) -> list[tuple[int, str]]:
        parts = re.split(r"([0-9]+)", file.stem)
        return [(int(part) if part.isdecimal() else 0, part) for part in parts]

    return sorted(files, key=key)


def _column(source: str, name: str, value: ArrayLike) -> NDArray[Any]:
    array = as_array(f"{source}: column {name!r}", value)
    if array.dtype.hasobject:
        raise DataError(
            f"{source}: column {name!r} holds Python objects, which dtrain does not "
            "read: save numbers, such as array.astype(float)"
        )
    if not array.dtype.isnative:
        return array.astype(array.dtype.newbyteorder("="))
    return array


def _dataset(columns: Mapping[str, NDArray[Any]], source: str) -> Dataset:
    if not columns:
        raise DataError(f"{source} has no columns: give {ACCEPTED}")
    return Dataset(columns, source)


def _unreadable(where: str, error: Exception) -> DataError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"{where} cannot be read: {reason}")
