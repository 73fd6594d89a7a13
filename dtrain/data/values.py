"""The values of a column: an array of numbers, or text as codes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dtrain.data.ragged import Ragged, is_ragged, of_arrays
from dtrain.errors import DataError

MISSING = -1
"""The code of a missing text."""


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
    def of(
        cls,
        codes: NDArray[Any],
        labels: Sequence[str],
        missing: Iterable[str] = (),
    ) -> Coded:
        """Return a column from codes of labels in any order, of which some are unused.

        Texts in ``missing`` are missing values.

        >>> Coded.of(np.array([2, 0, -1]), ["b", "unused", "a"])
        Coded(codes=array([ 0,  1, -1]), labels=('a', 'b'))
        """
        codes = np.asarray(codes)
        used = np.zeros(len(labels) + 1, bool)
        used[codes] = True  # the last element is for MISSING
        found = {labels[i] for i in np.flatnonzero(used[:-1]).tolist()}
        known = sorted(found.difference(missing))
        number = {label: code for code, label in enumerate(known)}
        new = np.array([number.get(x, MISSING) for x in labels] + [MISSING], np.int64)
        return cls(new[codes], tuple(known))

    @classmethod
    def of_texts(cls, texts: NDArray[Any]) -> Coded:
        """Return a column from an array of texts, (N,)."""
        labels, codes = np.unique(texts, return_inverse=True)
        return cls(codes.reshape(-1).astype(np.int64), tuple(map(str, labels)))


Values = NDArray[Any] | Coded | Ragged


def as_values(source: str, name: str, value: Any) -> Values:
    """Return a column as an array of numbers in this machine's byte order, or as text.

    A sequence of arrays of different lengths becomes a ragged column.

    Args:
        source: the name of the data in messages.
        name: the column's name.
        value: an array or what NumPy makes one of; or a column of a frame, which has a
            method ``to_numpy``.

    Raises:
        DataError: it cannot be an array, has masked elements, or holds Python objects.
    """
    if isinstance(value, Coded | Ragged):
        return value
    where = f"{source}: column {name!r}"
    if hasattr(value, "to_numpy"):
        value = _of_series(value)
        if isinstance(value, Coded):
            return value
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
        texts = _texts(array)
        if texts is not None:
            return texts
        raise DataError(
            f"{where} holds Python objects, which dtrain does not read: save numbers, "
            "for example array.astype(float)"
        )
    if not array.dtype.isnative:
        return array.astype(array.dtype.newbyteorder("="))
    return array


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


def _of_series(series: Any) -> Any:
    """Return a column of a pandas or polars frame as an array or as text."""
    categories = getattr(getattr(series, "cat", None), "categories", None)
    if categories is not None:  # pandas
        labels = list(categories)
        if all(isinstance(label, str) for label in labels):
            return Coded.of(np.asarray(series.cat.codes), labels)
    array = series.to_numpy()
    if array.dtype.hasobject and array.ndim == 1 and _texts(array) is None:
        # Numbers or truth values, of which some are missing.
        found = [np.nan if _is_missing(x) else x for x in array]
        if all(isinstance(x, Real | np.bool_) for x in found):
            return np.array(found, np.float64)
    return array


def _texts(array: NDArray[Any]) -> Coded | None:
    """Return Python's texts, of which some may be missing, as codes."""
    if array.dtype != object or array.ndim != 1:
        return None
    known: dict[str, int] = {}
    codes = np.empty(len(array), np.int64)
    for row, value in enumerate(array):
        if isinstance(value, str):
            codes[row] = known.setdefault(str(value), len(known))
        elif _is_missing(value):
            codes[row] = MISSING
        else:
            return None
    return Coded.of(codes, list(known)) if known else None


def _is_missing(value: Any) -> bool:
    """Return whether a value is None, NaN, or pandas' NA, which is unequal to all."""
    if value is None:
        return True
    if isinstance(value, float):
        return value != value
    return type(value).__name__ in ("NAType", "NaTType")
