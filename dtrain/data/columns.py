"""Named columns whose first axis is the sample."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.checks import (
    Check,
    Column,
    Rows,
    first_invalid,
    is_text,
    not_inf,
    not_negative,
    position,
)
from dtrain.data.csv_fields import is_number
from dtrain.data.parts import Allocate
from dtrain.data.ragged import Ragged
from dtrain.data.table import Table
from dtrain.data.values import Values, as_values
from dtrain.errors import DataError

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

    def read(
        self,
        names: Iterable[str],
        text: Iterable[str] = (),
        allocate: Allocate = np.empty,
    ) -> dict[str, Values]:
        """Read columns, all in one pass.

        Args:
            names: which columns.
            text: those of them that hold text even if it looks like numbers.
            allocate: makes the arrays of columns that are parsed.

        Raises:
            DataError: a name is not unique, or a column cannot be read.

        """
        names = self.unique(names)
        if isinstance(self.columns, Table):
            return self.columns.read(names, frozenset(text), allocate)
        return {
            name: as_values(self.source, name, self.columns[name]) for name in names
        }

    def unique(self, names: Iterable[str]) -> list[str]:
        """Return names, each once, if each is the name of one column only.

        Raises:
            DataError: one is not.
        """
        names = list(dict.fromkeys(names))
        for name in names:
            if (count := self.names.count(name)) > 1:
                raise DataError(
                    f"{self.source}: {count} columns are named {name!r}: rename them, "
                    "to say which one is meant"
                )
        return names


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
        left_out: how many rows of the data set were left out: a value was missing.

    """

    inputs: Mapping[str, Column]
    target: Column | None
    source: str
    origins: Sequence[tuple[str, ...]]
    line_of: Callable[[int], int] | None = field(default=None, repr=False)
    weight: NDArray[Any] | None = None
    rows: NDArray[np.intp] | None = field(default=None, repr=False)
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: int = 0

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

    def check_finite(
        self, start: int, stop: int, nan: Container[str] = frozenset()
    ) -> None:
        """Check that the rows [start, stop) hold neither infinities nor missing values.

        About a MiB is in memory at a time, so each rank can check a range of a
        memory-mapped file.

        Args:
            start: the first row.
            stop: the row after the last.
            nan: the inputs in which NaN is accepted.

        Raises:
            DataError: a value is not finite; names its row, from 1, and column.

        """
        keys = [*self.inputs, TARGET_KEY]
        checks = []
        for key, names, array in zip(keys, self.origins, self._arrays(), strict=False):
            if key in self.categories:
                checks.append(Check(names, array, is_text, _FINITE))
            elif array.dtype.kind == "f":
                fits = not_inf if key in nan else np.isfinite
                checks.append(Check(names, array, fits, _FINITE))
        self._check(checks, start, stop)

    def check_target(
        self, start: int, stop: int, fits: Callable[[Rows], Rows], must: str
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
            self._check([Check(names, self.target, fits, must)], start, stop)

    def check_weight(self, start: int, stop: int) -> None:
        """Check that weights of the rows [start, stop) are 0 or more, and not all 0.

        Raises:
            DataError: a weight is negative; or all weights of all rows are 0.

        """
        if self.weight is None:
            return
        at = len(self.inputs) + (self.target is not None)
        if at < len(self.origins):
            names = self.origins[at]
            check = Check(names, self.weight, not_negative, _NOT_NEGATIVE)
            self._check([check], start, stop)
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

    def _check(self, checks: Sequence[Check], start: int, stop: int) -> None:
        found = first_invalid(checks, start, stop)
        if found is not None:
            row, text = found
            raise DataError(f"{self.where(row)}, {text} (rows count from 1)")

    def where(self, row: int) -> str:
        """Return where users find a row (from 0): its number from 1 and its line."""
        row = row if self.rows is None else int(self.rows[row])
        return position(self.source, row, self.line_of)


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
