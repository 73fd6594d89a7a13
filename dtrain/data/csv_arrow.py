"""Parse plain CSV files with pyarrow: the same values, several times faster.

pyarrow is used only where it reads the same as the exact parser: fields are quoted as a
whole, and numbers are written so that it converts them to the bits of ``float``. At
everything else it gives up: a plus sign, True, a space before a quote.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dtrain.data.arrow_values import of_arrow
from dtrain.data.csv_fields import GAPS, SPACE
from dtrain.data.values import Coded, Values

_BLOCK = 4 * 2**20  # bytes of the file that are parsed at a time


class NotPlainError(Exception):
    """The file has something that only the exact parser can read or report."""


def fits_arrow(separator: str) -> bool:
    """Return whether pyarrow is installed, and takes the separator."""
    return separator.isascii() and find_spec("pyarrow") is not None


def arrow_parts(
    path: Path,
    separator: str,
    line: int,
    header: Sequence[str],
    names: Sequence[str],
    text: frozenset[str],
) -> Iterator[Mapping[str, Values]]:
    """Yield some rows of columns at a time: float64 columns, and text as `Coded`.

    Args:
        path: of the file; compressed by gzip if it ends in ``.gz``.
        separator: the character between fields.
        line: of the header.
        header: the names of all columns.
        names: the columns to read.
        text: those of them that hold text.

    Raises:
        NotPlainError: pyarrow cannot read the file.
    """
    import pyarrow as pa
    from pyarrow import csv

    # Columns go by number: names may be equal.
    numbers = {name: str(header.index(name)) for name in names}
    labels = pa.dictionary(pa.int32(), pa.string())
    types = {numbers[name]: labels if name in text else pa.float64() for name in names}
    read = csv.ReadOptions(
        block_size=_BLOCK,
        skip_rows=line,
        column_names=[str(number) for number in range(len(header))],
    )
    parse = csv.ParseOptions(delimiter=separator, newlines_in_values=True)
    convert = csv.ConvertOptions(
        column_types=types,
        include_columns=list(types),
        null_values=sorted(GAPS),
        strings_can_be_null=True,
        check_utf8=True,
    )
    zipped = "gzip" if path.suffix.lower() == ".gz" else None
    try:
        with pa.input_stream(str(path), compression=zipped) as file:
            if not has_plain_quotes(iter(partial(file.read, _BLOCK), b""), separator):
                raise NotPlainError
        with (
            pa.input_stream(str(path), compression=zipped) as file,
            csv.open_csv(file, read, parse, convert) as batches,
        ):
            for batch in batches:
                part = {}
                for name in names:
                    values = of_arrow(batch.column(numbers[name]))
                    if isinstance(values, Coded):
                        labels = [label.strip(SPACE) for label in values.labels]
                        values = Coded.of(values.codes, labels, GAPS)
                    part[name] = values
                yield part
    except (pa.ArrowException, OSError):
        raise NotPlainError from None


def has_plain_quotes(chunks: Iterable[bytes], separator: str) -> bool:
    """Return whether quotes stand around whole fields only, or are doubled in them.

    pyarrow reads ``"4"5`` as 45; the exact parser refuses it. Every second quote opens
    a field, or is the second of a doubled one; the others close a field, or are the
    first of a doubled one.

    >>> has_plain_quotes([b'a,"b ""c"" d"', b',"e"'], ",")
    True
    >>> has_plain_quotes([b'a,"4"5'], ",") or has_plain_quotes([b'5" pipe'], ",")
    False
    """
    edge = np.zeros(256, bool)
    edge[[*b'"\r\n', ord(separator)]] = True
    count, last = 0, ord("\n")  # quotes so far, and the byte before the chunk
    closed = True  # the last byte was no quote that must be followed by an edge
    for chunk in chunks:
        data = np.frombuffer(chunk, np.uint8)
        if not closed and not edge[data[0]]:
            return False
        closed = True
        if b'"' in chunk:
            places = np.flatnonzero(data == ord('"'))
            first = np.arange(count, count + len(places)) % 2 == 0
            before = np.concatenate([[last], data])[places]
            after = np.append(data, ord("\n"))[places + 1]
            if not (edge[before[first]].all() and edge[after[~first]].all()):
                return False
            count += len(places)
            closed = not (places[-1] == len(data) - 1 and not first[-1])
        last = int(data[-1])
    return count % 2 == 0
