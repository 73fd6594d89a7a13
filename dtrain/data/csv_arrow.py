"""Parse plain CSV files with pyarrow: the same values, several times faster.

pyarrow is used only where it cannot read something else than the exact parser: it
splits at the same separators, and converts only what ``float`` converts, to the same
bits. It gives up at everything else: a plus sign, True, a space before a quote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from dtrain.data.arrow_values import of_arrow
from dtrain.data.csv_fields import GAPS, SPACE
from dtrain.data.values import Coded, Values

_BLOCK = 4 * 2**20  # bytes of the file that are parsed at a time


class NotPlainError(Exception):
    """The file has something that only the exact parser can read or report."""


def arrow_is_there() -> bool:
    """Return whether pyarrow is installed."""
    return find_spec("pyarrow") is not None


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
