"""Read data sets: tables in memory, and the file formats in `READERS`.

Reading never runs code: arrays of Python objects (pickles) in files are refused.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtrain.data.arrow_files import read_feather, read_parquet
from dtrain.data.columns import Dataset
from dtrain.data.csv_file import read_csv
from dtrain.data.frames import is_frame, read_frame
from dtrain.data.hdf5_file import read_hdf5
from dtrain.data.numpy_files import read_folder, read_npz, unreadable
from dtrain.data.table import Table
from dtrain.errors import DataError, UsageError


@dataclass(frozen=True)
class Reader:
    """A file format.

    Attributes:
        description: the format in a few words, with an article.
        read: opens the data set at a path; its second argument is the path as the
            user wrote it, for messages. It finds the names of the columns; they are
            read when they are asked for.
        separated: whether ``read`` has a third argument: the character that separates
            the columns, or ``None`` to recognise it.
    """

    description: str
    read: Callable[..., Dataset]
    separated: bool = False


def open_data(source: Any, separator: str | None = None) -> Dataset:
    """Open a data set as named columns, which are read when they are asked for.

    The arrays of a mapping or frame are not copied. The arrays of a folder are
    memory-mapped: they stay on disk and the ranks of a node share them, so use a folder
    for data larger than memory. Other files are read into memory. Numbers of foreign
    byte order are converted, in memory.

    Args:
        source: a mapping of names to arrays, a frame (see `is_frame`); or a path, whose
            suffix selects the entry in `READERS`.
        separator: the character between the columns of a text file; by default it is
            recognised.

    Raises:
        DataError: the source is of an unknown kind or format, or it does not exist or
            is damaged.
        UsageError: there is a separator, but no text file.

    >>> open_data({"p": [1.0, 2.0], "t": [0, 1]}).columns["t"]
    array([0, 1])

    """
    if isinstance(source, Dataset) and separator is None:
        return source
    if not isinstance(source, str | os.PathLike):
        if separator is not None:
            raise UsageError(
                f"separator is {separator!r}, but the data are not in a text file"
            )
        if is_frame(source):
            return _with_columns(read_frame(source))
        if isinstance(source, Mapping):
            return _with_columns(_read_mapping(source))
        raise DataError(f"data is {type(source).__name__}: give {_accepted()}")
    path, name = Path(source), os.fspath(source)
    try:
        if not path.exists():
            raise DataError(f"{name}: there is no such file or folder")
        reader = READERS.get(_suffix(path))
        if reader is None:
            raise DataError(f"{name}: give {_accepted()}")
        if reader.separated:
            return reader.read(path, name, separator)
        if separator is not None:
            raise UsageError(f"separator is {separator!r}, but {name} has none")
        return _with_columns(reader.read(path, name))
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(name, error) from None


def is_named(value: Any) -> bool:
    """Return whether a value is something that `open_data` takes, not bare arrays."""
    return isinstance(value, Mapping | str | os.PathLike | Dataset) or is_frame(value)


def is_text_file(source: Any) -> bool:
    """Return whether a source is the path of a text file, which has a separator."""
    if not isinstance(source, str | os.PathLike):
        return False
    reader = READERS.get(_suffix(Path(source)))
    return reader is not None and reader.separated


def formats() -> str:
    """Return the descriptions of all file formats as one phrase.

    >>> formats()
    'a .csv, .tsv or .csv.gz file with a header line, an .npz file, a folder of .npy \
files, a .parquet file or folder, a .feather or .arrow file or an .h5 file'

    """
    texts = dict.fromkeys(reader.description for reader in READERS.values())
    *others, last = texts
    return f"{', '.join(others)} or {last}"


def _accepted() -> str:
    return f"a mapping of names to arrays, a DataFrame, {formats()}"


def _suffix(path: Path) -> str:
    """Return the key in `READERS` of an existing file or folder."""
    name = path.name.lower()
    if path.is_dir():
        arrays = next(path.glob("[!.]*.npy"), None)
        tables = next(path.rglob("[!._]*.parquet"), None)
        return ".parquet" if arrays is None and tables is not None else "/"
    fits = [suffix for suffix in READERS if name.endswith(suffix)]
    return max(fits, key=len, default="")


def _read_mapping(source: Mapping[str, Any]) -> Dataset:
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
                raise unreadable(f"{name}: column {key!r}", error) from None
        return columns

    return Dataset(Table(source, name, arrays=read), name)


def _with_columns(dataset: Dataset) -> Dataset:
    if not dataset.names:
        raise DataError(f"{dataset.source} has no columns: give {_accepted()}")
    return dataset


def _read_tsv(path: Path, source: str, separator: str | None) -> Dataset:
    return read_csv(path, source, separator or "\t")


_TEXT = "a .csv, .tsv or .csv.gz file with a header line"
READERS: dict[str, Reader] = {
    ".csv": Reader(_TEXT, read_csv, separated=True),
    ".tsv": Reader(_TEXT, _read_tsv, separated=True),
    ".csv.gz": Reader(_TEXT, read_csv, separated=True),
    ".npz": Reader("an .npz file", read_npz),
    "/": Reader("a folder of .npy files", read_folder),
    ".parquet": Reader("a .parquet file or folder", read_parquet),
    ".feather": Reader("a .feather or .arrow file", read_feather),
    ".arrow": Reader("a .feather or .arrow file", read_feather),
    ".h5": Reader("an .h5 file", read_hdf5),
}
"""The file formats by suffix in lower case; ``/`` stands for folders."""
