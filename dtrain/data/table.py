"""A table whose columns are read when they are asked for."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from dtrain.data.parts import Allocate, Collector, IsTextError
from dtrain.data.values import Values, as_values
from dtrain.errors import DataError

UNNAMED = "Unnamed: "
"""With a column's number from 0, the name of a column whose header is empty."""

Read = Callable[[Sequence[str], frozenset[str]], Any]


class Table(Mapping[str, Values]):
    """The columns of a file or a frame by name, read when they are asked for.

    A table has either arrays, or parts: some rows of all columns at a time.

    Args:
        names: the names of all columns, in order; a name may occur more than once.
        source: the name of the data in messages.
        arrays: returns columns by name, numbers and texts as arrays or `Coded`. Its
            second argument has the names of those that must be read as text, even if
            all of it looks like numbers.
        parts: does the same, but returns an iterator of such mappings. It raises
            `IsTextError` if a column turns out to be text.
        parsed: whether reading is work and makes new arrays, so that the ranks of a
            host should share them; always with ``parts``.

    """

    def __init__(
        self,
        names: Iterable[str],
        source: str,
        *,
        arrays: Read | None = None,
        parts: Read | None = None,
        parsed: bool = False,
    ) -> None:
        self.names = tuple(names)
        self.parsed = parsed or parts is not None
        self._source, self._arrays, self._parts = source, arrays, parts

    def read(
        self,
        names: Sequence[str],
        text: frozenset[str] = frozenset(),
        allocate: Allocate = np.empty,
    ) -> dict[str, Values]:
        """Read columns, all in one pass.

        Args:
            names: which columns.
            text: those of them that hold text even if it looks like numbers.
            allocate: makes the arrays of columns that are parsed.

        Raises:
            DataError: a column cannot be read.
        """
        while True:
            try:
                return self._read(names, text, allocate)
            except IsTextError as found:
                text |= found.names

    def _read(
        self, names: Sequence[str], text: frozenset[str], allocate: Allocate
    ) -> dict[str, Values]:
        if self._parts is not None:
            collector = Collector(names, self._source)
            for part in self.parts(names, text):
                collector.add(part)
            return collector.columns(allocate)
        with _readable(self._source):
            found = self._arrays(names, text) if self._arrays is not None else {}
        return {name: as_values(self._source, name, found[name]) for name in names}

    def parts(
        self, names: Sequence[str], text: frozenset[str]
    ) -> Iterator[dict[str, Values]]:
        """Read some rows of columns at a time.

        Raises:
            DataError: as `read`; IsTextError: columns not in ``text`` hold it.
        """
        if self._parts is None:
            yield self.read(names, text)
            return
        with _readable(self._source):
            for part in self._parts(names, text):
                yield {
                    name: as_values(self._source, name, part[name]) for name in names
                }

    def __getitem__(self, name: str) -> Values:
        if name not in self.names:
            raise KeyError(name)
        return self.read([name])[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(self.names))

    def __len__(self) -> int:
        return len(set(self.names))

    def __contains__(self, name: object) -> bool:
        return name in self.names


@contextmanager
def _readable(source: str) -> Iterator[None]:
    """Raise a DataError for a file that cannot be read."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error) or "it is truncated"
        raise DataError(f"{source} cannot be read: {reason}") from None
