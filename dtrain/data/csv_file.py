"""Read CSV files: a header line of names, then one line for each sample.

Fields are split by the standard library's parser, a few MiB at a time; by pyarrow, if
it is installed and the file is large. Only the columns that are read are converted: to
numbers as ``float`` does it, or to codes if they hold text.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from dtrain.data.columns import Dataset
from dtrain.data.csv_arrow import NotPlainError, arrow_parts, fits_arrow
from dtrain.data.csv_fields import GAPS, SPACE, is_number, numbers
from dtrain.data.parts import IsTextError
from dtrain.data.table import UNNAMED, Table
from dtrain.data.values import Coded, Values
from dtrain.errors import DataError

SEPARATORS = ",;\t"
"""The separators that are recognised, by the header; the first is the usual one."""
LARGE = 4 * 2**20
"""Bytes of a file from which it is worth to load a faster parser."""
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
    file = CsvFile(path, source, separator or SEPARATORS)
    return Dataset(Table(file.names, source, parts=file.parts), source, file.line_of)


class CsvFile:
    """A CSV file; see `read_csv`.

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
            raise DataError(
                f"{errors[0]}; if another character separates the columns, name it "
                "with --separator (separator=)"
            )
        header, self._line, self.separator = max(found, key=lambda each: len(each[0]))
        self.names = [
            name or f"{UNNAMED}{number}" for number, name in enumerate(header)
        ]
        self._check(header, f"{source}: line {self._line}")
        self._large = path.stat().st_size >= LARGE and fits_arrow(self.separator)
        self._fast = self._large

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

    def _rows(self) -> Iterator[list[list[str]]]:
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

    def parts(
        self, names: Sequence[str], text: frozenset[str]
    ) -> Iterator[Mapping[str, Values]]:
        """Yield some rows of columns at a time: float64 columns, and text as `Coded`.

        What the fast parser cannot read, the exact one reads or reports.

        Raises:
            IsTextError: start again, with these columns as text.
        """
        if not self._fast:
            yield from self._exact_parts(names, text)
            return
        try:
            yield from arrow_parts(
                self.path, self.separator, self._line, self.names, names, text
            )
        except NotPlainError:
            self._fast = False
            raise IsTextError(frozenset()) from None

    def _exact_parts(
        self, names: Sequence[str], text: frozenset[str]
    ) -> Iterator[Mapping[str, Values]]:
        index = {name: number for number, name in enumerate(self.names)}
        done = 0
        for rows in self._rows():
            part: dict[str, Values] = {}
            for name in names:
                fields = [row[index[name]] for row in rows]
                if name in text:
                    part[name] = self._texts(name, fields, done)
                elif (values := numbers(fields)) is not None:
                    part[name] = values
            if wrong := frozenset(names) - part.keys():
                self._fast = self._large
                raise IsTextError(wrong)
            done += len(rows)
            yield part

    def _texts(self, name: str, fields: list[str], done: int) -> Coded:
        texts = [field.strip(SPACE) for field in fields]
        if not _is_unicode("".join(texts)):
            row = next(i for i, each in enumerate(texts) if not _is_unicode(each))
            where = f"{self.source}: line {self.line_of(done + row)}"
            raise DataError(
                f"{where}, row {done + row + 1}, column {name!r} is not UTF-8"
            )
        number: dict[str, int] = {}
        codes = [number.setdefault(text, len(number)) for text in texts]
        return Coded.of(np.array(codes, np.int64), list(number), GAPS)


def _is_unicode(text: str) -> bool:
    """Return whether a text has no bytes that could not be decoded."""
    if text.isascii():
        return True
    return not any("\ud800" <= character <= "\udfff" for character in text)
