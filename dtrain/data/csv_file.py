"""CSV files: a header line of names, then one line of numbers for each sample.

NumPy's C parser reads the body. Where it fails, it is tried once more without the lines
of blanks that an editor may leave. Where that fails, too, the file is read by the
standard library's parser, slowly, to name the line, row and column that is at fault.
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

# Numbers without quotes, on which both parsers agree.
_PLAIN = re.compile(r"[-+.,0-9 aefintyAEFINTY\r\n]*")


def read_csv(path: Path, source: str) -> Dataset:
    """Read a CSV file into float64 scalar columns, views of one (N, columns) table.

    Names and numbers may be quoted; blank lines are skipped.

    Raises:
        DataError: the file is no UTF-8; the header is missing, or has a name twice or
            an empty one; a row has too few or too many fields; a field is empty or no
            number. With line, row (the first below the header is row 1) and column.
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
        if table is None and len(names) > 1:  # a blank is a row of one, at fault
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
    """Read the header from an open file, which is left at the line after it."""
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
        raise DataError(f"{where} begins with '#': the header is a plain line of names")
    if all(_is_number(name) for name in names):
        raise DataError(f"{where} holds numbers: put a line of column names before it")
    return names


def _parse(lines: Iterable[str], width: int) -> NDArray[np.float64] | None:
    """Return the rows of lines, or ``None`` where one is at fault."""
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
    """Yield the lines that are not of spaces alone, which NumPy would refuse.

    Raises:
        ValueError: at a line that NumPy might take where the slow parser does not.

    """
    for line in lines:
        if line.strip(" \r\n"):
            if not _PLAIN.fullmatch(line):
                raise ValueError(line)
            yield line


def _parse_slowly(path: Path, source: str, names: list[str]) -> NDArray[np.float64]:
    """Raise the DataError that names the first fault; return the rows if none is."""
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
        f"{where} is {shown!r}, which is no number: replace it by one, or remove the "
        "row or the column"
    )


def _rows(path: Path, source: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and fields of every row below the header."""
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
    """Say whether NumPy's parser takes this text too: not 1_000, nor １."""
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text
