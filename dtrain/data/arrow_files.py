"""Read .parquet, .feather and .arrow files, and folders of .parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dtrain.data.arrow_values import of_arrow
from dtrain.data.columns import Dataset
from dtrain.data.extra import needed
from dtrain.data.numpy_files import in_natural_order, unreadable
from dtrain.data.table import Table
from dtrain.data.values import Values

_ROWS = 1 << 16  # in memory at a time


def read_parquet(path: Path, source: str) -> Dataset:
    """Open a .parquet file, or a folder of them; rows are in the order of the files."""
    files = in_natural_order(path.rglob("[!._]*.parquet")) if path.is_dir() else [path]
    return _open(files, source, "parquet")


def read_feather(path: Path, source: str) -> Dataset:
    """Open a .feather or .arrow file."""
    return _open([path], source, "ipc")


def _open(files: list[Path], source: str, form: str) -> Dataset:
    pa = needed("pyarrow", source)
    dataset = needed("pyarrow.dataset", source)
    try:
        opened = dataset.dataset([str(file) for file in files], format=form)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(source, error) from None
    return Dataset(
        Table(opened.schema.names, source, parts=partial(_parts, opened, source)),
        source,
    )


def _parts(
    opened: Any, source: str, names: Sequence[str], _: frozenset[str]
) -> Iterator[Mapping[str, Values]]:
    pa = needed("pyarrow", source)
    try:
        for batch in opened.to_batches(columns=list(names), batch_size=_ROWS):
            yield of_batch(batch, source, names)
    except (pa.ArrowException, ValueError) as error:
        raise unreadable(source, error) from None


def of_batch(batch: Any, source: str, names: Sequence[str]) -> dict[str, Values]:
    """Return columns of an Arrow record batch."""
    return {name: of_arrow(batch.column(name), source, name) for name in names}
