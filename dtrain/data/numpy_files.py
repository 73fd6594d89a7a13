"""Read .npz files, and folders of .npy files, which stay on the disk."""

from __future__ import annotations

import re
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dtrain.data.columns import Dataset
from dtrain.data.ragged import LENGTHS, of_lengths
from dtrain.data.table import Read, Table
from dtrain.errors import DataError

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


def read_npz(path: Path, source: str) -> Dataset:
    """Open an .npz file; its arrays are read into memory when asked for."""
    if not zipfile.is_zipfile(path):
        raise DataError(f"{source}: not an .npz file, or a truncated one")

    def read(names: Sequence[str] | None, _: frozenset[str]) -> dict[str, Any]:
        columns, where = {}, source
        try:
            # NumPy does not close a file that it opened and failed to read.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                for name in arrays.files if names is None else names:
                    where = f"{source}: column {name!r}"
                    columns[name] = None if names is None else arrays[name]
        except _DAMAGED as error:
            raise unreadable(where, error) from None
        return columns

    names = list(read(None, frozenset()))
    return _dataset(names, source, read, parsed=True)


def read_folder(path: Path, source: str) -> Dataset:
    """Open a folder of .npy files; its arrays are mapped when asked for."""
    files = {file.stem: file for file in in_natural_order(path.glob("[!.]*.npy"))}

    def read(names: Sequence[str], _: frozenset[str]) -> dict[str, Any]:
        columns = {}
        for name in names:
            try:
                columns[name] = np.load(files[name], mmap_mode="r", allow_pickle=False)
            except _DAMAGED as error:
                raise unreadable(str(files[name]), error) from None
        return columns

    return _dataset(list(files), source, read, parsed=False)


def _dataset(names: Sequence[str], source: str, read: Read, *, parsed: bool) -> Dataset:
    """Return a data set; arrays NAME and NAME.lengths are one ragged column NAME."""
    lengths = {name: name + LENGTHS for name in names if name + LENGTHS in names}

    def joined(wanted: Sequence[str], text: frozenset[str]) -> dict[str, Any]:
        both = [name for each in wanted for name in (each, lengths.get(each)) if name]
        columns = read(both, text)
        for name in [each for each in wanted if each in lengths]:
            where = f"{source}: column {name!r} with {lengths[name]!r}"
            columns[name] = of_lengths(columns[name], columns.pop(lengths[name]), where)
        return {name: columns[name] for name in wanted}

    known = [name for name in names if name not in lengths.values()]
    return Dataset(Table(known, source, arrays=joined, parsed=parsed), source)


def in_natural_order(files: Iterable[Path]) -> list[Path]:
    """Sort pixel_2 before pixel_10, as users expect of a range of columns."""

    def key(file: Path) -> list[tuple[int, str]]:
        parts = re.split(r"([0-9]+)", file.stem)
        return [(int(part) if part.isdecimal() else 0, part) for part in parts]

    return sorted(files, key=key)


def unreadable(where: str, error: Exception) -> DataError:
    """Return the error for a damaged file."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"{where} cannot be read: {reason}")
