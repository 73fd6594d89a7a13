"""Read CSV files: a header line of names, then one line for each sample.

Fields are split by the standard library's parser, a few MiB at a time. Only the columns
that are read are converted: to numbers by ``float``, or to codes if they hold text.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from dtrain.data.columns import Dataset
from dtrain.data.csv_fields import GAPS, is_number, numbers
from dtrain.data.table import MISSING, UNNAMED, Coded, Table, Values
from dtrain.errors import DataError, UsageError

SEPARATORS = ",;\t"
"""The separators that are recognised, by the header; the first is the usual one."""
_CHUNK = 1 << 18  # fields in memory at a time


def read_csv(path: Path, source: str, separator: str | None = None) -> Dataset:
    """Open a CSV file, whose header is read; its columns are read when asked for.

    Numbers are float64. Names and fields may be quoted; blank lines are skipped. A
    column without a name is called ``Unnamed: 0`` by its number from 0.

    Args:
        path: of the file; it is compressed by gzip if it ends in ``.gz``.
        source: the path as the user wrote it, for messages.
        separator: the character between fields; by default it is recognised.

    Raises:
        DataError: the header is missing or not UTF-8. Later, when columns are read: a
            row has too few or too many fields, or a text is not UTF-8; the message
            has line, row (1 below the header) and column.
        OSError: the file cannot be read.

    """
    if separator is not None and len(separator) != 1:
        raise UsageError(f"separator is {separator!r}; it must be one character")
    file = CsvFile(path, source, separator or SEPARATORS)
    table = Table(file.names, file.read, source, parsed=True)
    return Dataset(table, source, file.line_of)


class _IsTextError(Exception):
    """Columns that were read as numbers hold text."""

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names


class CsvFile:
    """An open CSV file; see `read_csv`.

    Attributes:
        names: the names of the columns.
        separator: the character between fields.

    """

    def __init__(self, path: Path, source: str, separators: str) -> None:
        self.path, self.source = path, source
        found, errors = [], []
        for mark in separators:
            try:
                found.append((*self._header(mark), mark))
            except DataError as error:
                errors.append(error)
        if errors and all(len(header) < 2 for header, _, _ in found):
            raise errors[0]
        header, line, self.separator = max(found, key=lambda each: len(each[0]))
        self.names = [
            name or f"{UNNAMED}{number}" for number, name in enumerate(header)
        ]
        self._check(header, f"{source}: line {line}")

    def _header(self, separator: str) -> tuple[list[str], int]:
        """Return the names, and the line where they are."""
        with self._reading(separator) as reader:
            row: list[str] = next((row for row in reader if row), [])
            return [name.strip() for name in row], reader.line_num

    def _check(self, header: list[str], where: str) -> None:
        if not header:
            raise DataError(
                f"{self.source} is empty: it needs a header line of column names"
            )
        text = "".join(header)
        if "\0" in text or not _is_unicode(text):
            raise DataError(f"{self.source}: not a CSV file in UTF-8")
        if len(header) == 1 and any(mark in header[0] for mark in ",;\t|"):
            raise DataError(
                f"{where} has one column: name the character that separates the "
                "columns with --separator (separator=)"
            )
        if header[0].startswith("#"):
            raise DataError(
                f"{where} begins with '#': write the column names without it"
            )
        if all(is_number(name) for name in header):
            raise DataError(
                f"{where} holds numbers: put a line of column names before it"
            )

    @contextmanager
    def _reading(self, separator: str) -> Iterator[Any]:
        """Open the file as a `csv.reader`, and name the line of its errors."""
        opened = gzip.open if self.path.suffix.lower() == ".gz" else open
        file = cast(BinaryIO, opened(self.path, "rb"))
        # Bytes that are not UTF-8 do not matter in a column that nobody reads.
        with io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="") as text:
            reader = csv.reader(
                text, delimiter=separator, skipinitialspace=True, strict=True
            )
            try:
                yield reader
            except csv.Error as error:
                where = f"{self.source}: line {reader.line_num}"
                raise DataError(f"{where}: {error}") from None
            except (EOFError, zlib.error) as error:
                raise DataError(f"{self.source} cannot be read: {error}") from None

    def rows(self) -> Iterator[list[list[str]]]:
        """Yield the fields of all rows below the header, some rows at a time.

        Raises:
            DataError: a row has too few or too many fields.
        """
        width, done = len(self.names), 0
        height = max(1, _CHUNK // width)
        with self._reading(self.separator) as reader:
            next(row for row in reader if row)
            while chunk := list(itertools.islice(reader, height)):
                if {*map(len, chunk)} != {width}:
                    chunk = [row for row in chunk if not self._is_blank(row)]
                    for number, row in enumerate(chunk, done + 1):
                        if len(row) != width:
                            raise self._uneven(number, len(row))
                done += len(chunk)
                yield chunk

    def _is_blank(self, row: list[str]) -> bool:
        # In a file of one column, a line of spaces is a row with an empty field.
        return not row or (row == [""] and len(self.names) > 1)

    def _uneven(self, number: int, fields: int) -> DataError:
        line = self.line_of(number - 1)
        return DataError(
            f"{self.source}: line {line}, row {number} has {fields} fields, the header "
            f"has {len(self.names)}"
        )

    def line_of(self, row: int) -> int:
        """Return the line of a row, from 0: where it ends."""
        with self._reading(self.separator) as reader:
            next(fields for fields in reader if fields)
            full = (fields for fields in reader if not self._is_blank(fields))
            next(itertools.islice(full, row, None))
            return int(reader.line_num)

    def read(self, names: Sequence[str], text: frozenset[str]) -> Mapping[str, Values]:
        """Return columns: float64 columns of one table, and text as `Coded`."""
        while True:
            try:
                return self._read([name for name in names if name not in text], text)
            except _IsTextError as found:
                text |= found.names

    def _read(self, real: Sequence[str], text: frozenset[str]) -> dict[str, Values]:
        index = {name: number for number, name in enumerate(self.names)}
        tables: list[NDArray[np.float64]] = []
        coders = {name: _Coder() for name in text}
        done = 0
        for rows in self.rows():
            found = {name: numbers([row[index[name]] for row in rows]) for name in real}
            wrong = frozenset(name for name in real if found[name] is None)
            if wrong:
                raise _IsTextError(wrong)
            table = np.empty((len(rows), len(real)))
            for number, name in enumerate(real):
                table[:, number] = found[name]
            tables.append(table)
            for name, coder in coders.items():
                bad = coder.add([row[index[name]].strip(" \t\r\n") for row in rows])
                if bad is not None:
                    where = f"{self.source}: line {self.line_of(done + bad)}"
                    raise DataError(
                        f"{where}, row {done + bad + 1}, column {name!r} is not UTF-8"
                    )
            done += len(rows)
        whole = stack(tables, len(real))
        columns: dict[str, Values] = {
            name: whole[:, number] for number, name in enumerate(real)
        }
        return columns | {name: coder.column() for name, coder in coders.items()}


def stack(tables: list[NDArray[np.float64]], width: int) -> NDArray[np.float64]:
    """Return tables as one, freeing each as it is copied: memory once, not twice."""
    whole = np.empty((sum(map(len, tables)), width))
    stop = len(whole)
    while tables:
        table = tables.pop()
        whole[stop - len(table) : stop] = table
        stop -= len(table)
    return whole


@dataclass
class _Coder:
    """Collects the codes of a text column; labels are numbered as they appear."""

    known: defaultdict[str, int] = field(default_factory=defaultdict)
    codes: list[NDArray[np.int64]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.known.update(dict.fromkeys(GAPS, MISSING))
        self.known.default_factory = lambda: len(self.known) - len(GAPS)

    def add(self, texts: list[str]) -> int | None:
        """Add texts; return the number of the first that is not UTF-8."""
        if not _is_unicode("".join(texts)):
            return next(i for i, text in enumerate(texts) if not _is_unicode(text))
        codes = map(self.known.__getitem__, texts)
        self.codes.append(np.fromiter(codes, np.int64, len(texts)))
        return None

    def column(self) -> Coded:
        codes = np.concatenate(self.codes or [np.empty(0, np.int64)])
        return Coded.of(codes, list(self.known)[len(GAPS) :])


def _is_unicode(text: str) -> bool:
    """Return whether a text has no bytes that could not be decoded."""
    if text.isascii():
        return True
    return not any("\ud800" <= character <= "\udfff" for character in text)
