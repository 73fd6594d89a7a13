"""Read CSV files: a header line of names, then one line of numbers for each sample.

NumPy's C parser reads the body. If it fails, it tries once more without the lines that
hold only spaces. If that fails too, the slow parser of the standard library reads the
file, to find the line, row and column of the error.
"""

from __future__ import annotations

import csv
import itertools
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TextIO

import numpy as np
from numpy.typing import NDArray

from dtrain.data.columns import Dataset
from dtrain.errors import DataError

# Unquoted numbers: both parsers read them alike.
_PLAIN = re.compile(r"[-+.,0-9 aefintyAEFINTY\r\n]*")


def read_csv(path: Path, source: str) -> Dataset:
    """Read a CSV file into float64 scalar columns, views of one (N, columns) table.

    Names and numbers may be quoted; blank lines are skipped.

    Raises:
        DataError: the file is not UTF-8; the header is missing, or a name in it is
            empty or repeated; a row has too few or too many fields; a field is empty or
            not a number. The message names line, row (1 below the header) and column.
        OSError: the file cannot be read.

    """
    try:
        with _open(path) as file:
            names = _header(file, source)
            first = next((line for line in file if line.strip()), None)
            if first is None:
                table: NDArray[np.float64] | None = np.empty((0, len(names)))
            else:
                table = _parse(itertools.chain([first], file), len(names))
        # In a file of one column, a line of spaces is a row with an empty field.
        if table is None and len(names) > 1:
            with _open(path) as file:
                _header(file, source)
                table = _parse(_without_blanks(file), len(names))
        if table is None:
            table = _parse_slowly(path, source, names)
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: not a CSV file in UTF-8 ({error.reason})") from None
    columns = {name: table[:, index] for index, name in enumerate(names)}
    return Dataset(columns, source, partial(_line_of, path))


def _open(path: Path) -> TextIO:
    return path.open(encoding="utf-8-sig", newline="")


def _header(file: TextIO, source: str) -> list[str]:
    """Read the header from an open file, up to the line after it."""
    reader = csv.reader(file, skipinitialspace=True, strict=True)
    try:
        names = [name.strip() for name in next((row for row in reader if row), [])]
    except csv.Error as error:
        raise DataError(f"{source}: line {reader.line_num}: {error}") from None
    where = f"{source}: line {reader.line_num}"
    if not names:
        raise DataError(f"{source} is empty: it needs a header line of column names")
    for number, name in enumerate(names, 1):
        if not name:
            raise DataError(f"{where}: column {number} of {len(names)} has no name")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise DataError(f"{where}: {count} columns are named {name!r}")
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        raise DataError(f"{where} has no comma: columns must be separated by commas")
    if names[0].startswith("#"):
        raise DataError(f"{where} begins with '#': write the column names without it")
    if all(_is_number(name) for name in names):
        raise DataError(f"{where} holds numbers: put a line of column names before it")
    return names


def _parse(lines: Iterable[str], width: int) -> NDArray[np.float64] | None:
    """Return the rows in lines, or ``None`` if a line is invalid."""
    try:
        table = np.loadtxt(
            lines,
            delimiter=",",
            quotechar='"',
            comments=None,
            ndmin=2,
        )
    except UnicodeDecodeError:
        raise
    except ValueError:
        return None
    return table if table.shape[1] == width else None


def _without_blanks(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines except those of spaces alone, which NumPy refuses.

    Raises:
        ValueError: NumPy might accept a line that the slow parser refuses.

    """
    for line in lines:
        if line.strip(" \r\n"):
            if not _PLAIN.fullmatch(line):
                raise ValueError(line)
            yield line


def _parse_slowly(path: Path, source: str, names: list[str]) -> NDArray[np.float64]:
    """Return the rows, or raise the DataError that names the first invalid field."""
    numbers = array("d")
    for row, (line, fields) in enumerate(_rows(path, source), 1):
        where = f"{source}: line {line}, row {row}"
        if len(fields) != len(names):
            raise DataError(
                f"{where} has {len(fields)} fields, the header has {len(names)}"
            )
        for name, text in zip(names, fields, strict=True):
            if not _is_number(text):
                _refuse(f"{where}, column {name!r}", text)
            numbers.append(float(text))
    return np.frombuffer(numbers).reshape(-1, len(names))


def _refuse(where: str, text: str) -> NoReturn:
    if not text.strip():
        raise DataError(f"{where} is empty: fill it in, or remove the row")
    shown = text if len(text) <= 40 else text[:40] + "..."
    raise DataError(
        f"{where} is {shown!r}, which is not a number: replace it, or remove the row "
        "or the column"
    )


def _rows(path: Path, source: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the fields of every row below the header."""
    with _open(path) as file:
        reader = csv.reader(file, skipinitialspace=True, strict=True)
        try:
            header = next(row for row in reader if row)
            for fields in reader:
                if fields and not (fields == [""] and len(header) > 1):
                    yield reader.line_num, fields
        except csv.Error as error:
            raise DataError(f"{source}: line {reader.line_num}: {error}") from None


def _line_of(path: Path, row: int) -> int:
    rows: Iterator[Any] = _rows(path, str(path))
    return int(next(itertools.islice(rows, row, None))[0])


def _is_number(text: str) -> bool:
    """Return whether a text is a number for NumPy's parser too: not 1_000, nor １."""
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text
