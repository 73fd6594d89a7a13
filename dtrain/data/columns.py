"""Named columns whose first axis is the sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.csv_fields import is_number
from dtrain.data.digest import CHUNK
from dtrain.data.ragged import Ragged
from dtrain.data.table import MISSING, Table, Values, as_column
from dtrain.errors import DataError

Column = NDArray[Any] | Ragged
TARGET_KEY = "(target)"
"""The target's key beside the names of inputs; no parameter can have this name."""
_FINITE = "data must be finite; fix or remove the row"
_NOT_NEGATIVE = "the weight of a sample must be 0 or more"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Columns by name; only those that a program reads are parsed and checked.

    Attributes:
        columns: (N, ...) each; a `Table` if they are read when they are asked for.
        source: the name of the data in messages, such as ``train.csv``.
        line_of: returns the line of the file that holds a row (from 0); ``None`` if
            the data have no lines.

    """

    columns: Mapping[str, Any]
    source: str
    line_of: Callable[[int], int] | None = field(default=None, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all columns, in order; a name may occur more than once."""
        columns = self.columns
        return columns.names if isinstance(columns, Table) else tuple(columns)

    def read(self, names: Iterable[str], text: Iterable[str] = ()) -> dict[str, Values]:
        """Read columns, all in one pass.

        Args:
            names: which columns.
            text: those of them that hold text even if it looks like numbers.

        Raises:
            DataError: a name is not unique, or a column cannot be read.

        """
        names = list(dict.fromkeys(names))
        for name in names:
            if (count := self.names.count(name)) > 1:
                raise DataError(
                    f"{self.source}: {count} columns are named {name!r}: rename them, "
                    "to say which one is meant"
                )
        if isinstance(self.columns, Table):
            return self.columns.read(names, frozenset(text))
        return {
            name: as_column(self.source, name, self.columns[name]) for name in names
        }


@dataclass(frozen=True, eq=False)
class Samples:
    """A data set bound to the inputs of a program.

    Attributes:
        inputs: (N, ...) each, by the names of the program's inputs.
        target: (N, ...), or ``None`` if the loss takes no target.
        source: the name of the data in messages.
        origins: the names of the columns that form each input, then the target, then
            the weight.
        line_of: as in `Dataset`.
        weight: (N,), the weight of each sample, or ``None`` if all count alike.
        rows: the row of each sample in the data set, if these are a part of it.
        categories: the texts that the codes of a column of text stand for, by the name
            of the input that reads it, or ``(target)``.

    """

    inputs: Mapping[str, Column]
    target: Column | None
    source: str
    origins: Sequence[tuple[str, ...]]
    line_of: Callable[[int], int] | None = field(default=None, repr=False)
    weight: NDArray[Any] | None = None
    rows: NDArray[np.intp] | None = field(default=None, repr=False)
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self._arrays())))

    def _arrays(self) -> Iterator[Column]:
        yield from self.inputs.values()
        if self.target is not None:
            yield self.target
        if self.weight is not None:
            yield self.weight

    @property
    def target_shape(self) -> tuple[int | None, ...] | None:
        """The shape of one sample's target; it begins with ``None`` if it is ragged."""
        return None if self.target is None else self.target.shape[1:]

    def first(self, count: int) -> Samples:
        """Return the first ``count`` samples."""
        return replace(
            self,
            inputs={name: column[:count] for name, column in self.inputs.items()},
            target=None if self.target is None else self.target[:count],
            weight=None if self.weight is None else self.weight[:count],
        )

    def take(self, rows: NDArray[np.intp]) -> Samples:
        """Return the samples of some rows, as copies in memory."""
        return replace(
            self,
            inputs={name: column[rows] for name, column in self.inputs.items()},
            target=None if self.target is None else self.target[rows],
            weight=None if self.weight is None else self.weight[rows],
            rows=rows if self.rows is None else self.rows[rows],
        )

    def check_finite(self, start: int, stop: int) -> None:
        """Check that the rows [start, stop) hold neither infinities nor NaN.

        About a MiB is in memory at a time, so each rank can check a range of a
        memory-mapped file.

        Raises:
            DataError: a value is not finite; names its row, from 1, and column.

        """
        keys = [*self.inputs, TARGET_KEY]
        checked = [
            (names, array)
            for key, names, array in zip(
                keys, self.origins, self._arrays(), strict=False
            )
            if array.dtype.kind == "f" or key in self.categories
        ]
        self._check(checked, start, stop, _is_value, _FINITE)

    def check_target(
        self,
        start: int,
        stop: int,
        fits: Callable[[NDArray[Any]], NDArray[Any]],
        must: str,
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
            names = self.origins[len(self.inputs)]
            self._check([(names, self.target)], start, stop, fits, must)

    def check_weight(self, start: int, stop: int) -> None:
        """Check that weights of the rows [start, stop) are 0 or more, and not all 0.

        Raises:
            DataError: a weight is negative; or all weights of all rows are 0.

        """
        if self.weight is None:
            return
        at = len(self.inputs) + (self.target is not None)
        if at < len(self.origins):
            column = [(self.origins[at], self.weight)]
            self._check(column, start, stop, _not_negative, _NOT_NEGATIVE)
        if not np.any(self.weight):
            raise DataError(f"{self.source}: the weights of all samples are 0")

    def check_not_text(self, key: str, why: str) -> None:
        """Check that an input, or ``(target)``, does not read a column of text.

        Args:
            key: the input, or ``(target)``.
            why: why it must hold numbers, for the message.

        Raises:
            DataError: it does; names the first text that is not a number.

        """
        labels = self.categories.get(key)
        if labels is None:
            return
        codes = np.asarray(self.inputs.get(key, self.target))
        texts = [code for code, label in enumerate(labels) if not is_number(label)]
        row = int(np.argmax(np.isin(codes, texts)))
        keys = [*self.inputs, key]
        name = self.origins[keys.index(key)][0]
        text = labels[codes[row]]
        shown = text if len(text) <= 40 else text[:40] + "..."
        raise DataError(
            f"{self.where(row)}, column {name!r} is {shown!r}, which is not a number, "
            f"but {why}: replace it, or choose another column"
        )

    @property
    def ragged(self) -> dict[str, Ragged]:
        """The ragged columns, by input or ``(target)``."""
        columns = {**self.inputs, TARGET_KEY: self.target}
        return {k: each for k, each in columns.items() if isinstance(each, Ragged)}

    def _check(
        self,
        columns: Sequence[tuple[tuple[str, ...], Column]],
        start: int,
        stop: int,
        fits: Callable[[NDArray[Any]], NDArray[Any]],
        must: str,
    ) -> None:
        widest = max((array[:1].nbytes for _, array in columns), default=0)
        height = max(1, CHUNK // max(1, widest))
        for low in range(start, stop, height):
            invalid = []
            for names, array in columns:
                part = array[low : min(low + height, stop)]
                values = part.values if isinstance(part, Ragged) else part
                fit = fits(values)
                if not fit.all():
                    first = np.argwhere(~fit)[0].tolist()
                    row, *index = first
                    if isinstance(part, Ragged):
                        row, index = part.owner(row)[0], [part.owner(row)[1], *index]
                    invalid.append((row, names, index, values[tuple(first)]))
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
        shown = str(value)
        if value != value or (must is _FINITE and value == MISSING):
            shown = (
                f"{'nan' if value != value else 'no text'} (an empty or missing value)"
            )
        return DataError(
            f"{self.where(row)}, column {element} is {shown}: {must} "
            "(rows count from 1)"
        )


def _not_negative(values: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(values >= 0)


def _is_value(rows: NDArray[Any]) -> NDArray[Any]:
    """Return which elements are neither missing nor infinite."""
    number = rows.dtype.kind == "f"
    return np.asarray(np.isfinite(rows) if number else rows != MISSING)
