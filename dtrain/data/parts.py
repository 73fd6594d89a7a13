"""Columns that arrive in parts, some rows at a time, put together.

A part is freed as it is copied, so the whole is in memory once. Scalar columns of one
dtype become the columns of one table, so a vector of adjacent columns needs no copy.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.values import MISSING, Coded, Values
from dtrain.errors import DataError

Allocate = Callable[[tuple[int, ...], Any], NDArray[Any]]
"""Makes an array of a shape and dtype, as ``numpy.empty`` does."""
_PRIVATE: dict[str, int] = (
    {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if sys.platform == "linux" else {}
)
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

    def add(self, part: Mapping[str, Values]) -> None:
        """Add some rows of all columns."""
        arrays = {}
        for name in self._names:
            values = part[name]
            if isinstance(values, Coded):
                values = self._labels.setdefault(name, Labels()).recode(values)
            arrays[name] = values
        self._parts.append(_apart(arrays))

    def columns(self, allocate: Allocate) -> dict[str, Values]:
        """Return the columns; the parts are gone.

        Raises:
            DataError: parts have samples of different shapes, or integers that no float
                equals beside missing values.
        """
        if not self._parts:
            return {name: np.empty(0) for name in self._names}
        rows = sum(len(part[self._names[0]]) for part in self._parts)
        groups: dict[Any, list[str]] = {}
        shapes = {name: self._shape(name) for name in self._names}
        dtypes = {name: self._dtype(name) for name in self._names}
        for name in self._names:
            alone = shapes[name] or name in self._labels
            groups.setdefault(name if alone else dtypes[name], []).append(name)
        whole: dict[str, NDArray[Any]] = {}
        for names in groups.values():
            if shapes[names[0]] or names[0] in self._labels:
                shape = (rows, *shapes[names[0]])
                whole[names[0]] = allocate(shape, dtypes[names[0]])
            else:
                table = allocate((rows, len(names)), dtypes[names[0]])
                whole |= {name: table[:, i] for i, name in enumerate(names)}
        stop = rows
        while self._parts:
            part = self._parts.pop()
            start = stop - len(part[self._names[0]])
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


def _apart(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Copy arrays to memory that goes back to the system as soon as it is free.

    The allocators of C and of pyarrow would keep it: as much as the data set.
    """
    starts, size = {}, 0
    for name, array in arrays.items():
        starts[name] = size
        size += -(-array.nbytes // 64) * 64
    memory = np.frombuffer(mmap.mmap(-1, max(size, 1), **_PRIVATE), np.uint8)
    copies = {}
    for name, array in arrays.items():
        part = memory[starts[name] : starts[name] + array.nbytes]
        copies[name] = part.view(array.dtype).reshape(array.shape)
        copies[name][...] = array
    return copies


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
