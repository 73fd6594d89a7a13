"""Named columns whose first axis is the sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dtrain.data.digest import CHUNK, digest
from dtrain.errors import DataError

Column = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Columns by name, as they were read.

    Attributes:
        columns: (N, ...) each. `bind` checks those that a program uses; the others may
            hold anything.
        source: the name of the data in messages, such as ``train.csv``.
        line_of: returns the line of the file that holds a row (from 0); ``None`` if
            the data have no lines.

    """

    columns: Mapping[str, Column]
    source: str
    line_of: Callable[[int], int] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return common_length(self.columns, self.source)

    def digest(self) -> str:
        """Return the SHA-256 of the columns; equal for equal data in any format.

        See `dtrain.data.digest` for how much of a large data set it reads.
        """
        return digest(self.columns)


@dataclass(frozen=True, eq=False)
class Samples:
    """A data set bound to the inputs of a program.

    Attributes:
        inputs: (N, ...) each, by the names of the program's inputs.
        target: (N, ...), or ``None`` if the loss takes no target.
        source: the name of the data in messages.
        origins: the names of the columns that form each input, then the target.
        line_of: as in `Dataset`.
        rows: the row of each sample in the data set, if these are a part of it.

    """

    inputs: Mapping[str, Column]
    target: Column | None
    source: str
    origins: Sequence[tuple[str, ...]]
    line_of: Callable[[int], int] | None = field(default=None, repr=False)
    rows: NDArray[np.intp] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(next(iter(self._arrays())))

    def _arrays(self) -> Iterator[Column]:
        yield from self.inputs.values()
        if self.target is not None:
            yield self.target

    @property
    def target_shape(self) -> tuple[int, ...] | None:
        """The shape of one sample's target."""
        return None if self.target is None else self.target.shape[1:]

    def first(self, count: int) -> Samples:
        """Return the first ``count`` samples."""
        return replace(
            self,
            inputs={name: column[:count] for name, column in self.inputs.items()},
            target=None if self.target is None else self.target[:count],
        )

    def take(self, rows: NDArray[np.intp]) -> Samples:
        """Return the samples of some rows, as copies in memory."""
        return replace(
            self,
            inputs={name: column[rows] for name, column in self.inputs.items()},
            target=None if self.target is None else self.target[rows],
            rows=rows if self.rows is None else self.rows[rows],
        )

    def check_finite(self, start: int, stop: int) -> None:
        """Check that the rows [start, stop) hold neither infinities nor NaN.

        About a MiB is in memory at a time, so each rank can check a range of a
        memory-mapped file.

        Raises:
            DataError: a value is not finite; names its row, from 1, and column.

        """
        pairs = zip(self.origins, self._arrays(), strict=True)
        floats = [(names, array) for names, array in pairs if array.dtype.kind == "f"]
        must = "data must be finite; fix or remove the row"
        self._check(floats, start, stop, np.isfinite, must)

    def check_target(
        self, start: int, stop: int, fits: Callable[[Column], Column], must: str
    ) -> None:
        """Check that the target's rows [start, stop) have valid values.

        Args:
            start: the first row.
            stop: the row after the last.
            fits: returns which elements of some rows are valid.
            must: the requirement, for the message.

        Raises:
            DataError: a value is not valid; names its row, from 1, and column.

        """
        if self.target is not None:
            self._check([(self.origins[-1], self.target)], start, stop, fits, must)

    def _check(
        self,
        columns: Sequence[tuple[tuple[str, ...], Column]],
        start: int,
        stop: int,
        fits: Callable[[Column], Column],
        must: str,
    ) -> None:
        widest = max((array[:1].nbytes for _, array in columns), default=0)
        height = max(1, CHUNK // max(1, widest))
        for low in range(start, stop, height):
            invalid = []
            for names, array in columns:
                part = array[low : min(low + height, stop)]
                fit = fits(part)
                if not fit.all():
                    row, *index = np.argwhere(~fit)[0].tolist()
                    invalid.append((row, names, index, part[(row, *index)]))
            if invalid:
                row, names, index, value = min(invalid, key=lambda found: found[0])
                raise self._error(low + row, names, index, value, must)

    def where(self, row: int) -> str:
        """Return where users find a row (from 0): its number from 1 and its line."""
        row = row if self.rows is None else int(self.rows[row])
        line = "" if self.line_of is None else f" (line {self.line_of(row)})"
        return f"{self.source}: row {row + 1}{line}"

    def _error(
        self,
        row: int,
        names: tuple[str, ...],
        index: list[int],
        value: float,
        must: str,
    ) -> DataError:
        name = repr(names[index.pop(0)] if len(names) > 1 else names[0])
        element = name + (f" at {index}" if index else "")
        return DataError(
            f"{self.where(row)}, column {element} is {value}: {must} "
            "(rows count from 1)"
        )


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


def common_length(columns: Mapping[str, Column], source: str) -> int:
    """Return the number of samples, which must be the same in all columns.

    Raises:
        DataError: there are no columns, or their lengths differ.
    """
    lengths = {name: len(np.atleast_1d(column)) for name, column in columns.items()}
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
