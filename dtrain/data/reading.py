"""Read the columns that a program needs, and make samples of them.

A column is not copied unless it has to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.checks import Column, position
from dtrain.data.columns import TARGET_KEY, Dataset, Samples, common_length
from dtrain.data.csv_fields import is_number
from dtrain.data.gaps import Found, without_gaps
from dtrain.data.parts import Allocate
from dtrain.data.ragged import Ragged
from dtrain.data.values import MISSING, Coded, Values
from dtrain.errors import DataError, listing


@dataclass(frozen=True, eq=False)
class Binding:
    """Which columns of a data set a program reads.

    Attributes:
        dataset: the columns.
        inputs: the names of the program's inputs.
        origins: the names of the columns that form each input, then the target, then
            the weight of samples.
        vectors: for each of these, whether its columns are elements of a vector.
        weighted: whether the last of these is the weight of samples.

    """

    dataset: Dataset
    inputs: Sequence[str]
    origins: list[tuple[str, ...]]
    vectors: list[bool]
    weighted: bool = False

    @property
    def names(self) -> list[str]:
        """The names of the columns that are read, each once."""
        return list(dict.fromkeys(name for names in self.origins for name in names))

    def text(self, categories: Mapping[str, Sequence[str]]) -> frozenset[str]:
        """Return the columns that must be read as text, since their texts are known."""
        pairs = zip([*self.inputs, TARGET_KEY], self.origins, strict=False)
        return frozenset(names[0] for key, names in pairs if key in categories)

    def read(
        self,
        missing: str = "refuse",
        categories: Mapping[str, Sequence[str]] | None = None,
        allocate: Allocate = np.empty,
    ) -> Found:
        """Read the columns.

        Args:
            missing: ``skip`` leaves out the rows with a missing value.
            categories: the texts that are known, as in `Samples`.
            allocate: makes the arrays of columns that are parsed.

        Raises:
            DataError: a column cannot be read, has no axis of samples, or does not hold
                numbers or text; lengths differ; no rows are left.
        """
        dataset = self.dataset
        columns = dataset.read(self.names, self.text(categories or {}), allocate)
        for name, column in columns.items():
            _check_kind(dataset.source, name, column)
        if common_length(columns, dataset.source) == 0:
            raise DataError(f"{dataset.source} has no samples")
        if missing == "skip":
            return without_gaps(columns, dataset.source, allocate)
        return Found(columns)

    def samples(
        self,
        found: Found,
        categories: Mapping[str, Sequence[str]] | None = None,
    ) -> Samples:
        """Return samples made of the columns that were read.

        Args:
            found: the columns.
            categories: the texts that are known, as in `Samples`; by default those of
                the data, in sorted order.

        Raises:
            DataError: an element of a vector is not scalar; a text is not known.
        """
        source, columns = self.dataset.source, found.columns
        arrays: list[Column] = []
        known: dict[str, tuple[str, ...]] = {}
        count = len(self.inputs)
        with_target = len(self.origins) > count + self.weighted
        whose = [*self.inputs, *([TARGET_KEY] if with_target else []), "weight"]
        for key, names, vector in zip(whose, self.origins, self.vectors, strict=False):
            column = columns[names[0]]
            if vector:
                arrays.append(_vector(source, names, [columns[name] for name in names]))
            elif categories is not None and key in categories:
                known[key] = tuple(categories[key])
                arrays.append(self._codes(names[0], column, known[key], found.rows))
            elif isinstance(column, Coded):
                known[key] = column.labels
                arrays.append(column.codes)
            else:
                arrays.append(column)
        return Samples(
            dict(zip(self.inputs, arrays, strict=False)),
            arrays[count] if with_target else None,
            source,
            self.origins,
            self.dataset.line_of,
            self._weight(arrays[-1], known) if self.weighted else None,
            found.rows,
            known,
            found.left_out,
        )

    def _codes(
        self,
        name: str,
        column: Values,
        known: tuple[str, ...],
        rows: NDArray[np.intp] | None,
    ) -> Column:
        """Return a column's texts as indices of the known texts.

        Raises:
            DataError: a text is not known, with its row.
        """
        source, line_of = self.dataset.source, self.dataset.line_of
        if not isinstance(column, Coded):
            raise DataError(
                f"{source}: column {name!r} holds numbers, but the weights were "
                f"trained on the texts {listing(known)}"
            )
        number = {label: code for code, label in enumerate(known)}
        new = [number.get(label, MISSING - 1) for label in column.labels]
        codes: NDArray[np.int64] = np.array([*new, MISSING], np.int64)[column.codes]
        if codes.min() < MISSING:
            row = int(np.argmax(codes < MISSING))
            text = column.labels[column.codes[row]]
            where = position(source, row if rows is None else int(rows[row]), line_of)
            raise DataError(
                f"{where}, column {name!r} is {text!r}, which is not in the training "
                f"data; there were: {listing(known)}"
            )
        return codes

    def _weight(
        self, column: Column, categories: Mapping[str, tuple[str, ...]]
    ) -> NDArray[Any]:
        """Return the weights of samples; refuse what is not one number a sample."""
        (name,) = self.origins[-1] if len(self.origins[-1]) == 1 else ("a vector",)
        coded = "weight" in categories
        if coded or isinstance(column, Ragged) or column.ndim != 1:
            raise DataError(
                f"{self.dataset.source}: column {name!r} must hold one number for each "
                "sample, its weight"
            )
        return column


def _check_kind(source: str, name: str, column: Values) -> None:
    if isinstance(column, Coded):
        return
    if column.dtype.kind not in "biuf" or column.dtype.itemsize > 8:
        raise DataError(
            f"{source}: column {name!r} is {column.dtype}: a column that is "
            "used must be bool, integer or floating-point, of 64 bits at most, or text"
        )
    if column.ndim == 0:
        raise DataError(
            f"{source}: column {name!r} is a single number: its first axis "
            "must be the sample"
        )


def _vector(source: str, names: tuple[str, ...], columns: Sequence[Values]) -> Column:
    """Return scalar columns as one matrix, (N, columns)."""
    for name, column in zip(names, columns, strict=True):
        if isinstance(column, Coded):
            raise DataError(
                f"{source}: column {name!r} holds text, such as {_example(column)!r}: "
                "the columns of a vector must hold numbers"
            )
        if column.ndim != 1 or isinstance(column, Ragged):
            raise DataError(
                f"{source}: the vector of columns includes {name!r} of shape "
                f"{column.shape}: its elements must be scalar columns"
            )
    return _side_by_side([each for each in columns if isinstance(each, np.ndarray)])


def _example(column: Coded) -> str:
    """Return a text that is not a number."""
    texts = (label for label in column.labels if not is_number(label))
    return next(texts, "")


def _side_by_side(columns: list[NDArray[Any]]) -> NDArray[Any]:
    """Return scalar columns as the columns of one matrix.

    Adjacent columns of one table, such as those of a CSV file, are not copied.
    """
    table = columns[0].base
    if isinstance(table, np.ndarray) and table.ndim == 2:
        offset = columns[0].ctypes.data - table.ctypes.data
        first = offset // table.itemsize
        view = table[:, first : first + len(columns)]
        if view.shape[1] == len(columns) and all(
            _same_memory(view[:, index], column) for index, column in enumerate(columns)
        ):
            return view
    return np.stack(columns, axis=1)


def _same_memory(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.__array_interface__ == other.__array_interface__
