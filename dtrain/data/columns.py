"""Named columns whose first axis is the sample, and how they meet a program's inputs.

A program says what it needs by the names of its inputs; a data set says what there is
by the names of its columns. `bind` joins the two without copying where it can.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dtrain.data.digest import CHUNK, digest
from dtrain.errors import DataError, UsageError

Column = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Columns by name, as a file or a person gave them.

    Attributes:
        columns: (N, ...) each. What no program input uses may be anything; the rest is
            checked by `bind`.
        source: what a person calls the data, such as ``train.csv``.
        line_of: the line of the file that a row (from 0) is in, where that is known.

    """

    columns: Mapping[str, Column]
    source: str
    line_of: Callable[[int], int] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return _common_length(self.columns, self.source)

    def digest(self) -> str:
        """Return a SHA-256 that equal data share whatever file they come from.

        How much of a large data set it reads: see `dtrain.data.digest`.
        """
        return digest(self.columns)


@dataclass(frozen=True, eq=False)
class Samples:
    """A data set bound to the inputs of a program.

    Attributes:
        inputs: by the program's input names, (N, ...) each.
        target: (N, ...), or ``None`` where the loss asks for none.
        source: what a person calls the data.
        origins: the names of the columns that make up each input and then the target.
        line_of: as in `Dataset`.

    """

    inputs: Mapping[str, Column]
    target: Column | None
    source: str
    origins: Sequence[tuple[str, ...]]
    line_of: Callable[[int], int] | None = field(default=None, repr=False)

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
        """The first ``count`` samples."""
        return replace(
            self,
            inputs={name: column[:count] for name, column in self.inputs.items()},
            target=None if self.target is None else self.target[:count],
        )

    def check_finite(self, start: int, stop: int) -> None:
        """Check that the rows [start, stop) hold neither infinities nor NaN.

        About a MiB is in memory at a time, so each rank can check its own range of a
        memory-mapped file.

        Raises:
            DataError: naming the first such row, counted from 1, and its column.

        """
        pairs = zip(self.origins, self._arrays(), strict=True)
        floats = [(names, array) for names, array in pairs if array.dtype.kind == "f"]
        must = "data must be finite; repair or remove the row"
        self._check(floats, start, stop, np.isfinite, must)

    def check_target(
        self, start: int, stop: int, fits: Callable[[Column], Column], must: str
    ) -> None:
        """Check that the target's rows [start, stop) are of the values that fit.

        Args:
            start: the first row.
            stop: the row after the last.
            fits: which elements of some rows do.
            must: what they must be, for the message.

        Raises:
            DataError: naming the first such row, counted from 1, and its column.

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
            faults = []
            for names, array in columns:
                part = array[low : min(low + height, stop)]
                fit = fits(part)
                if not fit.all():
                    row, *index = np.argwhere(~fit)[0].tolist()
                    faults.append((row, names, index, part[(row, *index)]))
            if faults:
                row, names, index, value = min(faults, key=lambda fault: fault[0])
                raise self._fault(low + row, names, index, value, must)

    def where(self, row: int) -> str:
        """A row, from 0, as a person finds it in the data, where rows count from 1."""
        line = "" if self.line_of is None else f" (line {self.line_of(row)})"
        return f"{self.source}: row {row + 1}{line}"

    def _fault(
        self,
        row: int,
        names: tuple[str, ...],
        index: list[int],
        value: float,
        must: str,
    ) -> DataError:
        name = repr(names[index.pop(0)] if len(names) > 1 else names[0])
        place = name + (f" at {index}" if index else "")
        return DataError(
            f"{self.where(row)}, column {place} is {value}: {must} (rows count from 1)"
        )


def as_array(name: str, value: ArrayLike) -> NDArray[Any]:
    """Values as an array, a memory-mapped one as it is.

    NumPy would drop a mask, and what lies under it would be taken for data.

    Args:
        name: what they are called in a message.
        value: the values.

    Raises:
        DataError: elements are masked.

    """
    parts = value if isinstance(value, list | tuple) else (value,)
    if any(isinstance(part, np.ma.MaskedArray) and _masked(part) for part in parts):
        raise DataError(
            f"{name} has masked elements: fill them or leave those rows out"
        )
    return value if isinstance(value, np.memmap) else np.asarray(value)


def _masked(values: np.ma.MaskedArray[Any, Any]) -> bool:
    if values.dtype.names is None:
        return np.ma.is_masked(values)
    return any(_masked(values[name]) for name in values.dtype.names)


def bind(
    dataset: Dataset,
    inputs: Sequence[str],
    target: str | None,
    columns: Mapping[str, str],
    *,
    with_target: bool = True,
) -> Samples:
    """Match the columns of a data set to a program's inputs, and find the target.

    Args:
        dataset: the columns.
        inputs: the names of the program's inputs.
        target: the column to learn; ``None`` means column ``t``, else the one column
            that no input uses.
        columns: for inputs, and for the target, that are not columns by their own name:
            another column, or a range ``first:last`` of scalar columns, in the order of
            the data set and both ends included, which makes one vector.
        with_target: whether a target is looked for at all.

    Raises:
        UsageError: a target is named, but none is looked for.
        DataError: a column is unknown, has no axis of samples, or is not of numbers; a
            range is reversed or its columns are no scalars; lengths differ; there are
            no samples; the target is not clear.

    >>> data = Dataset({name: np.zeros(3) for name in ("a", "b", "y")}, "a mapping")
    >>> samples = bind(data, ["x"], None, {"x": "a:b"})
    >>> samples.inputs["x"].shape, samples.origins
    ((3, 2), [('a', 'b'), ('y',)])

    """
    wanted = "t" if target is None else target
    for name in columns:
        if name not in inputs and name != wanted:
            raise DataError(
                f"columns names {name!r}, which is neither an input of the program "
                f"({_listing(inputs)}) nor the target"
            )
    specs = [columns.get(name, name) for name in inputs]
    origins = [
        _resolve(dataset, spec, name) for spec, name in zip(specs, inputs, strict=True)
    ]
    if target is not None and not with_target:
        raise UsageError(
            f"target is {target!r}, but nothing is compared with targets here: name "
            "none, or make it an input of the program"
        )
    if with_target:
        if target is None and ("t" in inputs or "t" not in columns):
            used = {name for names in origins for name in names}
            specs.append(_default_target(dataset, used))
        else:
            specs.append(columns.get(wanted, wanted))
        origins.append(_resolve(dataset, specs[-1], None))
    for name in dict.fromkeys(name for names in origins for name in names):
        _check_numeric(dataset, name)
    used_columns = {name: dataset.columns[name] for names in origins for name in names}
    if _common_length(used_columns, dataset.source) == 0:
        raise DataError(f"{dataset.source} holds no samples")
    arrays = [
        dataset.columns[spec]
        if spec in dataset.columns
        else _side_by_side([dataset.columns[name] for name in names])
        for spec, names in zip(specs, origins, strict=True)
    ]
    bound = dict(zip(inputs, arrays, strict=False))
    learned = arrays[-1] if with_target else None
    return Samples(bound, learned, dataset.source, origins, dataset.line_of)


def _resolve(dataset: Dataset, spec: str, reader: str | None) -> tuple[str, ...]:
    """Return the columns that a name or a range stands for.

    The reader is an input of the program, or ``None``: the target.
    """
    names = list(dataset.columns)
    if spec in dataset.columns:
        return (spec,)
    first, colon, last = spec.partition(":")
    if not colon:
        raise _unknown(dataset, spec, reader)
    for end in (first, last):
        if end not in dataset.columns:
            raise _unknown(dataset, end, reader)
    low, high = names.index(first), names.index(last)
    if low > high:
        raise DataError(
            f"{dataset.source}: the range {spec} is reversed: column {last!r} comes "
            f"before {first!r}; write {last}:{first}"
        )
    for name in names[low : high + 1]:
        if dataset.columns[name].ndim != 1:
            raise DataError(
                f"{dataset.source}: the range {spec} includes column {name!r} of shape "
                f"{dataset.columns[name].shape}: a range is made of scalar columns"
            )
    return tuple(names[low : high + 1])


def _unknown(dataset: Dataset, name: str, reader: str | None) -> DataError:
    close = difflib.get_close_matches(name, dataset.columns)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else "."
    if reader is None:
        who, advice = "the target", "with --target NAME (target=)"
    else:
        who = f"input {reader!r}"
        advice = f"with --columns {reader}=NAME, or {reader}=FIRST:LAST (columns=)"
    return DataError(
        f"{dataset.source}: there is no column {name!r} for {who}{hint} There are: "
        f"{_listing(dataset.columns)}. Choose another {advice}"
    )


def _default_target(dataset: Dataset, used: set[str]) -> str:
    free = [name for name in dataset.columns if name not in used]
    if "t" in free:
        return "t"
    if len(free) == 1:
        return free[0]
    found = f"could be any of {_listing(free)}" if free else "is not there"
    raise DataError(
        f"{dataset.source}: the target {found}: the program's inputs use "
        f"{_listing(sorted(used)) or 'no column'}; name it with --target (target=)"
    )


def _check_numeric(dataset: Dataset, name: str) -> None:
    column = dataset.columns[name]
    if column.dtype.kind not in "biuf" or column.dtype.itemsize > 8:
        raise DataError(
            f"{dataset.source}: column {name!r} is {column.dtype}: a column that is "
            "used must be bool, integer or floating-point, of 64 bits at most"
        )
    if column.ndim == 0:
        raise DataError(
            f"{dataset.source}: column {name!r} is a single number: its first axis "
            "must be the sample"
        )


def _common_length(columns: Mapping[str, Column], source: str) -> int:
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


def _side_by_side(columns: list[Column]) -> Column:
    """Return scalar columns as the columns of a matrix.

    Where they are that already, as those of a CSV file are, they are not copied.
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


def _same_memory(one: Column, other: Column) -> bool:
    return one.__array_interface__ == other.__array_interface__


def _listing(names: Iterable[str]) -> str:
    known = list(names)
    if len(known) <= 12:
        return ", ".join(known)
    return ", ".join([*known[:9], "...", known[-1]]) + f" ({len(known)} in all)"
