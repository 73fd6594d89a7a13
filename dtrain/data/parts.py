"""Columns that arrive in parts, some rows at a time, put together.

A part is freed as it is copied, so the whole is in memory once. Scalar columns of one
dtype become the columns of one table, so a vector of adjacent columns needs no copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.ragged import Ragged, joined
from dtrain.data.values import MISSING, Coded, Values
from dtrain.errors import DataError

Allocate = Callable[[tuple[int, ...], Any], NDArray[Any]]
"""Makes an array of a shape and dtype, as ``numpy.empty`` does."""
_EXACT = 2**53
"""Up to this size, every integer is a float64."""


class IsTextError(Exception):
    """Columns that were read as numbers hold text.

    Args:
        names: which columns.
    """

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__(", ".join(sorted(names)))
        self.names = names


class Labels:
    """Numbers the texts of a column as they appear."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def recode(self, part: Coded) -> NDArray[np.int64]:
        """Return the codes of a part's texts among all texts so far."""
        known = self.known
        new = [known.setdefault(label, len(known)) for label in part.labels]
        return np.array([*new, MISSING], np.int64)[part.codes]


class Collector:
    """Puts the parts of columns together.

    Args:
        names: the columns.
        source: the name of the data in messages.
    """

    def __init__(self, names: Sequence[str], source: str) -> None:
        self._names, self._source = names, source
        self._labels: dict[str, Labels] = {}
        self._parts: list[dict[str, NDArray[Any]]] = []
        self._ragged: dict[str, list[Ragged]] = {}

    def add(self, part: Mapping[str, Values]) -> None:
        """Add some rows of all columns."""
        arrays = {}
        for name in self._names:
            values = part[name]
            if isinstance(values, Coded):
                values = self._labels.setdefault(name, Labels()).recode(values)
            if isinstance(values, Ragged):
                self._ragged.setdefault(name, []).append(values)
            else:
                arrays[name] = values
        self._parts.append(arrays)

    def columns(self, allocate: Allocate) -> dict[str, Values]:
        """Return the columns; the parts are gone.

        Raises:
            DataError: parts have samples of different shapes, or integers that no float
                equals beside missing values.
        """
        if not self._parts:
            return {name: np.empty(0) for name in self._names}
        ragged = {name: joined(parts) for name, parts in self._ragged.items()}
        plain = self._plain(
            [name for name in self._names if name not in ragged], allocate
        )
        return {
            name: ragged[name] if name in ragged else plain[name]
            for name in self._names
        }

    def _plain(self, names: list[str], allocate: Allocate) -> dict[str, Values]:
        if not names:
            return {}
        rows = sum(len(part[names[0]]) for part in self._parts)
        groups: dict[Any, list[str]] = {}
        shapes = {name: self._shape(name) for name in names}
        dtypes = {name: self._dtype(name) for name in names}
        for name in names:
            alone = shapes[name] or name in self._labels
            groups.setdefault(name if alone else dtypes[name], []).append(name)
        whole: dict[str, NDArray[Any]] = {}
        for group in groups.values():
            first = group[0]
            if shapes[first] or first in self._labels:
                whole[first] = allocate((rows, *shapes[first]), dtypes[first])
            else:
                table = allocate((rows, len(group)), dtypes[first])
                whole |= {name: table[:, i] for i, name in enumerate(group)}
        stop = rows
        while self._parts:
            part = self._parts.pop()
            start = stop - len(part[names[0]])
            for name, values in part.items():
                self._check_exact(name, values, dtypes[name])
                whole[name][start:stop] = values
            stop = start
        return {
            name: Coded.of(array, list(self._labels[name].known))
            if name in self._labels
            else array
            for name, array in whole.items()
        }

    def _shape(self, name: str) -> tuple[int, ...]:
        shapes = dict.fromkeys(part[name].shape[1:] for part in self._parts)
        if len(shapes) > 1:
            raise DataError(
                f"{self._source}: column {name!r} has samples of the shapes "
                f"{', '.join(map(str, shapes))}: all samples must have one shape"
            )
        return next(iter(shapes))

    def _dtype(self, name: str) -> np.dtype[Any]:
        return np.result_type(*{part[name].dtype for part in self._parts})

    def _check_exact(
        self, name: str, values: NDArray[Any], dtype: np.dtype[Any]
    ) -> None:
        if (
            dtype.kind == "f"
            and values.dtype.kind in "iu"
            and values.dtype.itemsize > 4
        ):
            check_exact(self._source, name, values)


def check_exact(source: str, name: str, values: NDArray[Any]) -> None:
    """Check that integers are equal to floats of 64 bits.

    Raises:
        DataError: one is not.
    """
    if len(values) and (values.max() > _EXACT or values.min() < -_EXACT):
        raise DataError(
            f"{source}: column {name!r} has missing values, so it is read as float64, "
            "but it holds integers above 2**53, which would be rounded: fill it in"
        )
