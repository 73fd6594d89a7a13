"""A table whose columns are read when they are asked for, and columns of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dtrain.data.ragged import Ragged, is_ragged, of_arrays
from dtrain.errors import DataError

MISSING = -1
"""The code of a missing text."""
UNNAMED = "Unnamed: "
"""With a column's number from 0, the name of a column whose header is empty."""


@dataclass(frozen=True, eq=False)
class Coded:
    """A column of text: each sample's text as a number.

    Attributes:
        codes: (N,) int64, indices of ``labels``; `MISSING` where there is no text.
        labels: the distinct texts, sorted by code point.

    """

    codes: NDArray[np.int64]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def of(cls, codes: NDArray[Any], labels: Sequence[str]) -> Coded:
        """Return a column from codes of labels in any order, of which some are unused.

        >>> Coded.of(np.array([2, 0, -1]), ["b", "unused", "a"])
        Coded(codes=array([ 0,  1, -1]), labels=('a', 'b'))
        """
        codes = np.asarray(codes)
        used = np.zeros(len(labels) + 1, bool)
        used[codes] = True  # the last element is for MISSING
        known = sorted({labels[i] for i in np.flatnonzero(used[:-1]).tolist()})
        number = {label: code for code, label in enumerate(known)}
        new = np.array([number.get(x, MISSING) for x in labels] + [MISSING], np.int64)
        return cls(new[codes], tuple(known))

    @classmethod
    def of_texts(cls, texts: NDArray[Any]) -> Coded:
        """Return a column from an array of texts, (N,)."""
        labels, codes = np.unique(texts, return_inverse=True)
        return cls(codes.reshape(-1).astype(np.int64), tuple(map(str, labels)))


Values = NDArray[Any] | Coded | Ragged
Read = Callable[[Sequence[str], frozenset[str]], Mapping[str, Any]]


class Table(Mapping[str, Values]):
    """The columns of a file or a frame by name, read when they are asked for.

    Args:
        names: the names of all columns, in order; a name may occur more than once.
        read: returns columns by name, numbers and texts as arrays or `Coded`. Its
            second argument has the names of those that must be read as text, even if
            all of it looks like numbers.
        source: the name of the data in messages.
        parsed: whether reading is work and makes new arrays: the ranks of a host then
            share them.

    """

    def __init__(
        self, names: Sequence[str], read: Read, source: str, *, parsed: bool = False
    ) -> None:
        self.names = tuple(names)
        self.parsed = parsed
        self._read, self._source = read, source

    def read(self, names: Sequence[str], text: frozenset[str]) -> dict[str, Values]:
        """Read columns, all in one pass.

        Raises:
            DataError: a column cannot be read.
        """
        try:
            found = self._read(names, text)
        except OSError as error:
            reason = error.strerror or str(error)
            raise DataError(f"{self._source} cannot be read: {reason}") from None
        return {name: as_column(self._source, name, found[name]) for name in names}

    def __getitem__(self, name: str) -> Values:
        if name not in self.names:
            raise KeyError(name)
        return self.read([name], frozenset())[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(self.names))

    def __len__(self) -> int:
        return len(set(self.names))

    def __contains__(self, name: object) -> bool:
        return name in self.names


def as_array(name: str, value: ArrayLike) -> NDArray[Any]:
    """Return values as an array; a memory-mapped array is returned as it is.

    Masked elements are refused: NumPy would drop the mask and treat them as data.

    Args:
        name: the name of the values in messages.
        value: the values.

    Raises:
        DataError: elements are masked.

    """
    parts = value if isinstance(value, list | tuple) else (value,)
    if any(isinstance(part, np.ma.MaskedArray) and _masked(part) for part in parts):
        raise DataError(f"{name} has masked elements: fill them or remove those rows")
    return value if isinstance(value, np.memmap) else np.asarray(value)


def _masked(values: np.ma.MaskedArray[Any, Any]) -> bool:
    if values.dtype.names is None:
        return np.ma.is_masked(values)
    return any(_masked(values[name]) for name in values.dtype.names)


def as_column(source: str, name: str, value: Any) -> Values:
    """Return a column as an array of numbers in this machine's byte order, or as text.

    A sequence of arrays of different lengths becomes a ragged column.

    Raises:
        DataError: it cannot be an array, has masked elements, or holds Python objects.
    """
    if isinstance(value, Coded | Ragged):
        return value
    where = f"{source}: column {name!r}"
    if is_ragged(value):
        return of_arrays(value, where)
    try:
        array = as_array(where, value)
    except ValueError as error:  # NumPy's, for nested lists of different lengths
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{where} cannot be read: {reason}; samples may differ in the length of "
            "their first axis alone (dtrain.ragged)"
        ) from None
    if array.dtype.kind in "UT" and array.ndim == 1:
        return Coded.of_texts(array)
    if array.dtype.hasobject:
        raise DataError(
            f"{where} holds Python objects, which dtrain does not read: save numbers, "
            "for example array.astype(float)"
        )
    if not array.dtype.isnative:
        return array.astype(array.dtype.newbyteorder("="))
    return array


def common_length(columns: Mapping[str, Any], source: str) -> int:
    """Return the number of samples, which must be the same in all columns.

    Raises:
        DataError: there are no columns, or their lengths differ.
    """
    lengths = {
        name: len(np.atleast_1d(column) if isinstance(column, np.ndarray) else column)
        for name, column in columns.items()
    }
    if not lengths:
        raise DataError(f"{source}: no column is used, so there are no samples")
    first = next(iter(lengths))
    for name, length in lengths.items():
        if length != lengths[first]:
            raise DataError(
                f"{source}: column {first!r} has {lengths[first]} rows, column "
                f"{name!r} has {length}: all must have one row for each sample"
            )
    return lengths[first]
