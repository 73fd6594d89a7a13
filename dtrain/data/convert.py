"""Write a data set as a folder of .npy files, some rows at a time.

The folder appears when it is complete, or not at all. What ranks map from it needs no
memory of their own, so a data set may be larger than memory.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dtrain.data.columns import Dataset
from dtrain.data.numpy_files import CATEGORIES
from dtrain.data.parts import IsTextError, Labels, check_exact
from dtrain.data.table import Table
from dtrain.data.values import Coded, Values
from dtrain.errors import DataError, UsageError

MOST_TEXTS = 100_000
"""A column with more distinct texts is left out: these are no categories."""
_ROWS = 1 << 16  # at a time, of arrays that are in memory or mapped


@dataclass
class Converted:
    """What was written.

    Attributes:
        columns: the names of the columns, with the number of their rows.
        left_out: the names of those that were not written, with the reason.
        size: bytes of all files.
    """

    columns: dict[str, int]
    left_out: dict[str, str]
    size: int


class _RestartError(Exception):
    """A column needs another dtype than its first rows."""


def convert(dataset: Dataset, folder: str | os.PathLike[str]) -> Converted:
    """Write the columns of a data set as a folder of .npy files.

    Text is written as codes, with a file of the texts. Columns that hold neither
    numbers nor text are left out.

    Raises:
        DataError: the data cannot be read, or no column can be written.
        UsageError: the folder exists, or cannot be written.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{folder} exists: name a new folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".dtrain-", dir=target.parent))
    except OSError as error:
        raise _unwritable(folder, error) from None
    try:
        result = _write(dataset, temporary)
        temporary.chmod(0o777 & ~_umask())
        temporary.rename(target)
    except OSError as error:
        raise _unwritable(folder, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return result


def _unwritable(folder: str | os.PathLike[str], error: OSError) -> UsageError:
    return UsageError(f"cannot write the folder {folder}: {error.strerror or error}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write(dataset: Dataset, folder: Path) -> Converted:
    table = _table(dataset)
    names, left_out = _writable_names(table)
    text: frozenset[str] = frozenset()
    dtypes: dict[str, np.dtype[Any]] = {}
    while True:
        if not names:
            reasons = "; ".join(f"{name!r}: {why}" for name, why in left_out.items())
            raise DataError(f"{dataset.source}: no column can be written: {reasons}")
        try:
            with ExitStack() as stack:
                files = {
                    name: _File(folder / f"{_file_name(name)}.npy", dtypes.get(name))
                    for name in names
                }
                for file in files.values():
                    stack.callback(file.close)
                for part in table.parts(names, text):
                    _add(part, files, left_out, dataset.source)
                names = [name for name in names if name not in left_out]
                for name in names:
                    files[name].finish()
            break
        except IsTextError as found:
            text |= found.names
        except _RestartError:
            dtypes |= {name: file.wanted for name, file in files.items() if file.wanted}
        except DataError as error:
            wrong = _unreadable(table, names, text)
            if not wrong:
                raise error from None
            left_out |= wrong
            names = [name for name in names if name not in wrong]
    sizes = [file.stat().st_size for file in folder.iterdir()]
    return Converted({name: files[name].rows for name in names}, left_out, sum(sizes))


def _table(dataset: Dataset) -> Table:
    if isinstance(dataset.columns, Table):
        return dataset.columns
    columns = dataset.columns
    return Table(columns, dataset.source, arrays=lambda _names, _text: columns)


def _writable_names(table: Table) -> tuple[list[str], dict[str, str]]:
    """Return the names of columns that can be files, and why the others cannot."""
    left_out: dict[str, str] = {}
    counts = Counter(table.names)
    files: dict[str, str] = {}
    for name, count in counts.items():
        file = _file_name(name)
        if count > 1:
            left_out[name] = f"{count} columns have this name"
        elif not name or name.startswith(".") or "\0" in name or len(file) > 200:
            left_out[name] = "no file can have this name"
        elif file in files:
            left_out[name] = f"its file would be that of {files[file]!r}"
        files.setdefault(file, name)
    return [name for name in counts if name not in left_out], left_out


def _file_name(name: str) -> str:
    return name.replace("/", ".")


def _unreadable(
    table: Table, names: Sequence[str], text: frozenset[str]
) -> dict[str, str]:
    """Return the columns whose first rows alone cannot be read, with the reason."""
    wrong = {}
    for name in names:
        try:
            next(iter(table.parts([name], text)), None)
        except IsTextError:
            pass
        except DataError as error:
            wrong[name] = str(error)
    return wrong


def _add(
    part: Mapping[str, Values],
    files: Mapping[str, _File],
    left_out: dict[str, str],
    source: str,
) -> None:
    """Write some rows of all columns that are not left out."""
    restart = False
    for name, values in part.items():
        if name in left_out:
            continue
        if not isinstance(values, Coded) and (
            values.ndim == 0
            or values.dtype.kind not in "biuf"
            or values.dtype.itemsize > 8
        ):
            left_out[name] = f"it is {values.dtype}, of shape {values.shape}"
        else:
            restart |= files[name].add(values, source, name)
        if len(files[name].labels.known) > MOST_TEXTS:
            left_out[name] = f"it has more than {MOST_TEXTS:,} distinct texts"
        if name in left_out:
            files[name].drop()
    if restart:
        raise _RestartError


@dataclass
class _File:
    """A .npy file that grows.

    Attributes:
        path: of the file.
        dtype: of its elements; that of the first rows, if it is not given.
        rows: how many were written.
        labels: the texts, if the column holds text.
        wanted: the dtype that all rows fit, if it is another one.
    """

    path: Path
    dtype: np.dtype[Any] | None
    rows: int = 0
    labels: Labels = field(default_factory=Labels)
    wanted: np.dtype[Any] | None = None
    _shape: tuple[int, ...] = ()
    _file: BinaryIO | None = None
    _text: bool = False

    def add(self, values: Values, source: str, name: str) -> bool:
        """Write rows; return whether the file must be written again."""
        self._text |= isinstance(values, Coded)
        array = self.labels.recode(values) if isinstance(values, Coded) else values
        if self._file is None:
            self.dtype = self.dtype or array.dtype
            self._shape = array.shape[1:]
            self._file = self.path.open("wb")
            self._header()
        if array.shape[1:] != self._shape:
            raise DataError(
                f"{source}: column {name!r} has samples of the shapes {self._shape} "
                f"and {array.shape[1:]}"
            )
        whole = np.result_type(self.dtype or array.dtype, array.dtype)
        if whole != self.dtype:
            self.wanted = whole
            return True
        for start in range(0, len(array), _ROWS):
            rows = array[start : start + _ROWS]
            if whole.kind == "f" and rows.dtype.kind in "iu":
                check_exact(source, name, rows)
            np.ascontiguousarray(rows, whole).tofile(self._file)
        self.rows += len(array)
        return False

    def _header(self) -> None:
        """Write the header; it has the same length for any number of rows."""
        if self._file is not None and self.dtype is not None:
            facts = {
                "descr": np.lib.format.dtype_to_descr(self.dtype),
                "fortran_order": False,
                "shape": (self.rows, *self._shape),
            }
            self._file.seek(0)
            np.lib.format.write_array_header_1_0(self._file, facts)

    def finish(self) -> None:
        """Write the number of rows, and the texts."""
        if self._file is None:  # there were no rows
            self.dtype = self.dtype or np.dtype(float)
            self._file = self.path.open("wb")
        self._header()
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()
        if self._text:
            self._sort()

    def _sort(self) -> None:
        """Number the texts in sorted order."""
        known = list(self.labels.known)
        order = np.arange(len(known) + 1)
        order[-1] = -1  # a missing text
        new = Coded.of(order, known)
        if self.rows:
            codes: NDArray[np.int64] = np.load(self.path, mmap_mode="r+")
            for start in range(0, self.rows, _ROWS):
                codes[start : start + _ROWS] = new.codes[codes[start : start + _ROWS]]
            codes.flush()  # type: ignore[attr-defined]
        text = json.dumps(list(new.labels), ensure_ascii=False, indent=0)
        self.path.with_name(self.path.stem + CATEGORIES).write_text(text, "utf-8")

    def drop(self) -> None:
        """Remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file = None
