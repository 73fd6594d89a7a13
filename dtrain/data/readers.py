"""Read data sets: mappings of arrays, and the file formats in `READERS`.

Reading never runs code: arrays of Python objects (pickles) are refused.
"""

from __future__ import annotations

import os
import re
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dtrain.data.columns import Dataset
from dtrain.data.csv_file import read_csv
from dtrain.data.table import Table
from dtrain.errors import DataError


class Reader(NamedTuple):
    """A file format.

    Attributes:
        description: the format in a few words, with an article.
        read: opens the data set at a path; its second argument is the path as the
            user wrote it, for messages. It finds the names of the columns; they are
            read when they are asked for.
    """

    description: str
    read: Callable[[Path, str], Dataset]


# The exceptions of NumPy and zipfile for damaged files.
_DAMAGED = (
    ValueError,
    EOFError,
    KeyError,
    MemoryError,  # a damaged header may request any size
    RuntimeError,  # the file is encrypted, or its compression is not supported
    tokenize.TokenError,  # NumPy parses a header as Python tokens
    zipfile.BadZipFile,
    zlib.error,
)


def open_data(
    source: Mapping[str, ArrayLike] | str | os.PathLike[str] | Dataset,
) -> Dataset:
    """Open a data set as named columns.

    The arrays of a mapping are not copied. The arrays of a folder are memory-mapped:
    they stay on disk and the ranks of a node share them, so use a folder for data
    larger than memory. Other files are read into memory. Numbers of foreign byte order
    are converted, in memory.

    Args:
        source: a mapping of names to arrays; or a path, whose suffix selects the entry
            in `READERS`.

    Raises:
        DataError: the source is of an unknown kind or format, or it does not exist or
            is damaged.

    >>> open_data({"p": [1.0, 2.0], "t": [0, 1]}).columns["t"]
    array([0, 1])

    """
    if isinstance(source, Dataset):
        return source
    if isinstance(source, Mapping):
        return _read_mapping(source)
    if not isinstance(source, str | os.PathLike):
        raise DataError(f"data is {type(source).__name__}: give {_accepted()}")
    path, name = Path(source), os.fspath(source)
    try:
        if not path.exists():
            raise DataError(f"{name}: there is no such file or folder")
        suffix = "/" if path.is_dir() else path.suffix.lower()
        if suffix in READERS:
            return READERS[suffix].read(path, name)
    except OSError as error:
        raise _unreadable(name, error) from None
    raise DataError(f"{name}: give {_accepted()}")


def formats() -> str:
    """Return the descriptions of all file formats as one phrase.

    >>> formats()
    'an .npz file, a folder of .npy files or a .csv file with a header line'

    """
    *others, last = (reader.description for reader in READERS.values())
    return f"{', '.join(others)} or {last}"


def _accepted() -> str:
    return f"a mapping of names to arrays, {formats()}"


def _read_mapping(source: Mapping[str, ArrayLike]) -> Dataset:
    name = "the mapping of arrays"
    for key in source:
        if not isinstance(key, str):
            raise DataError(f"{name}: {key!r} is not a column name: use strings")

    def read(names: Sequence[str], _: frozenset[str]) -> dict[str, Any]:
        columns = {}
        for key in names:
            try:
                columns[key] = source[key]
            except ValueError as error:  # a pickle in an open .npz
                raise _unreadable(f"{name}: column {key!r}", error) from None
        return columns

    return _dataset(list(source), read, name)


def _read_npz(path: Path, name: str) -> Dataset:
    if not zipfile.is_zipfile(path):
        raise DataError(f"{name}: not an .npz file, or a truncated one")

    def read(names: Sequence[str] | None, _: frozenset[str]) -> dict[str, Any]:
        columns, where = {}, name
        try:
            # NumPy does not close a file that it opened and failed to read.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                for key in arrays.files if names is None else names:
                    where = f"{name}: column {key!r}"
                    columns[key] = None if names is None else arrays[key]
        except _DAMAGED as error:
            raise _unreadable(where, error) from None
        return columns

    return _dataset(list(read(None, frozenset())), read, name, parsed=True)


def _read_folder(path: Path, name: str) -> Dataset:
    files = {file.stem: file for file in _in_natural_order(path.glob("[!.]*.npy"))}
    if not files:
        raise DataError(f"{name}: the folder has no .npy files; give {_accepted()}")

    def read(names: Sequence[str], _: frozenset[str]) -> dict[str, Any]:
        columns = {}
        for key in names:
            try:
                columns[key] = np.load(files[key], mmap_mode="r", allow_pickle=False)
            except _DAMAGED as error:
                raise _unreadable(str(files[key]), error) from None
        return columns

    return _dataset(list(files), read, name)


def _in_natural_order(files: Iterable[Path]) -> list[Path]:
    """Sort pixel_2 before pixel_10, as users expect of a range of columns."""

    def key(file: Path) -> list[tuple[int, str]]:
        parts = re.split(r"([0-9]+)", file.stem)
        return [(int(part) if part.isdecimal() else 0, part) for part in parts]

    return sorted(files, key=key)


def _dataset(
    names: Sequence[str], read: Callable[..., Any], source: str, *, parsed: bool = False
) -> Dataset:
    if not names:
        raise DataError(f"{source} has no columns: give {_accepted()}")
    return Dataset(Table(names, read, source, parsed=parsed), source)


def _unreadable(where: str, error: Exception) -> DataError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"{where} cannot be read: {reason}")


READERS: dict[str, Reader] = {
    ".npz": Reader("an .npz file", _read_npz),
    "/": Reader("a folder of .npy files", _read_folder),
    ".csv": Reader("a .csv file with a header line", read_csv),
}
"""The file formats by suffix in lower case; ``/`` stands for folders."""
