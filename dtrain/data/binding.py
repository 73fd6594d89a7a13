"""Bind the columns of a data set to the inputs of a program, by name.

`resolve` finds the names of the columns, which costs nothing; only these columns are
read. `Binding.samples` makes samples of them. It does not copy a column unless it has
to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.columns import (
    TARGET_KEY,
    Column,
    Dataset,
    Samples,
)
from dtrain.data.csv_fields import is_number
from dtrain.data.ragged import Ragged
from dtrain.data.table import UNNAMED, Coded, Values, common_length
from dtrain.errors import DataError, UsageError, did_you_mean

_WEIGHT = "the weight of samples"
Spec = str | Sequence[str]
"""A column's name, a range ``first:last``, or a list of names and ranges."""


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

    def samples(self, columns: Mapping[str, Values]) -> Samples:
        """Return samples made of the columns that were read.

        Raises:
            DataError: a column has no axis of samples or does not hold numbers; an
                element of a vector is not scalar; lengths differ; there are no samples.
        """
        source = self.dataset.source
        for name in self.names:
            _check_kind(source, name, columns[name])
        if common_length({name: columns[name] for name in self.names}, source) == 0:
            raise DataError(f"{source} has no samples")
        arrays: list[Column] = []
        categories: dict[str, tuple[str, ...]] = {}
        count = len(self.inputs)
        with_target = len(self.origins) > count + self.weighted
        whose = [*self.inputs, *([TARGET_KEY] if with_target else []), "weight"]
        for key, names, vector in zip(whose, self.origins, self.vectors, strict=False):
            found = [columns[name] for name in names]
            if vector:
                arrays.append(_vector(source, names, found))
            elif isinstance(found[0], Coded):
                categories[key] = found[0].labels
                arrays.append(found[0].codes)
            else:
                arrays.append(found[0])
        weight = self._weight(arrays[-1], categories) if self.weighted else None
        return Samples(
            dict(zip(self.inputs, arrays, strict=False)),
            arrays[count] if with_target else None,
            source,
            self.origins,
            self.dataset.line_of,
            weight,
            categories=categories,
        )

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


def bind(
    dataset: Dataset,
    inputs: Sequence[str],
    target: str | None,
    columns: Mapping[str, Spec],
    *,
    with_target: bool = True,
    sample_weight: str | None = None,
) -> Samples:
    """Resolve the columns that a program reads, read them, and make samples.

    See `resolve` for the arguments.

    >>> data = Dataset({name: np.zeros(3) for name in ("a", "b", "y")}, "a mapping")
    >>> samples = bind(data, ["x"], None, {"x": "a:b"})
    >>> samples.inputs["x"].shape, samples.origins
    ((3, 2), [('a', 'b'), ('y',)])

    """
    binding = resolve(
        dataset,
        inputs,
        target,
        columns,
        with_target=with_target,
        sample_weight=sample_weight,
    )
    return binding.samples(dataset.read(binding.names))


def resolve(
    dataset: Dataset,
    inputs: Sequence[str],
    target: str | None,
    columns: Mapping[str, Spec],
    *,
    with_target: bool = True,
    sample_weight: str | None = None,
) -> Binding:
    """Match the columns of a data set to a program's inputs, and find the target.

    Args:
        dataset: the columns.
        inputs: the names of the program's inputs.
        target: the column to fit; ``None`` means column ``t``, else the only column
            that no input uses.
        columns: the column for each input or target whose column has another name; or
            the scalar columns that make a vector: a range ``first:last``, in the order
            of the data set and with both ends, or a list of names and ranges, in a text
            separated by commas.
        with_target: whether there is a target.
        sample_weight: the column with the weight of each sample, if there are weights.

    Raises:
        UsageError: a target is named although there is none.
        DataError: a column is unknown, a range is reversed, or the target is ambiguous.

    """
    wanted = "t" if target is None else target
    for name in columns:
        if name not in inputs and name != wanted:
            raise DataError(
                f"columns names {name!r}, which is neither an input of the program "
                f"({_listing(inputs)}) nor the target"
            )
    found = [_resolve(dataset, columns.get(name, name), name) for name in inputs]
    if target is not None and not with_target:
        raise UsageError(
            f"target is {target!r}, but nothing is compared with targets here: name "
            "no target, or make it an input of the program"
        )
    if with_target:
        spec: Spec = columns.get(wanted, wanted)
        if target is None and ("t" in inputs or "t" not in columns):
            used = {name for names, _ in found for name in names}
            spec = _default_target(dataset, used | {sample_weight or ""} - {""})
        found.append(_resolve(dataset, spec, None))
    if sample_weight is not None:
        found.append(_resolve(dataset, sample_weight, _WEIGHT))
    origins = [names for names, _ in found]
    vectors = [vector for _, vector in found]
    return Binding(dataset, inputs, origins, vectors, sample_weight is not None)


def _resolve(
    dataset: Dataset, spec: Spec, reader: str | None
) -> tuple[tuple[str, ...], bool]:
    """Return the names of the columns that are denoted, and whether they are a vector.

    ``reader`` is the input that reads them; ``None`` means the target.
    """
    if isinstance(spec, str):
        if spec in dataset.names:
            return (spec,), False
        if ":" not in spec and "," not in spec:
            raise _unknown(dataset, spec, reader)
        spec = spec.split(",")
    names: list[str] = []
    for part in spec:
        names += _names(dataset, part, reader)
    if not names:
        raise DataError(f"{dataset.source}: the list of columns for {reader} is empty")
    return tuple(names), True


def _names(dataset: Dataset, spec: str, reader: str | None) -> tuple[str, ...]:
    """Return the names of the columns that one part of a list denotes."""
    names = dataset.names
    if spec in names:
        return (spec,)
    parts = spec.split(":")  # a name may have colons
    ends = [(":".join(parts[:i]), ":".join(parts[i:])) for i in range(1, len(parts))]
    pairs = [(first, last) for first, last in ends if first in names and last in names]
    if not pairs:
        whole = [(spec, spec)]
        unknown = [end for end in (ends or whole)[0] if end not in names]
        raise _unknown(dataset, unknown[0], reader)
    first, last = pairs[0]
    low, high = names.index(first), names.index(last)
    if low > high:
        raise DataError(
            f"{dataset.source}: the range {spec} is reversed: column {last!r} comes "
            f"before {first!r}; write {last}:{first}"
        )
    return names[low : high + 1]


def _unknown(dataset: Dataset, name: str, reader: str | None) -> DataError:
    hint = did_you_mean(name, dataset.names) or "."
    if reader is None:
        who, advice = "the target", "with --target NAME (target=)"
    elif reader == _WEIGHT:
        who, advice = _WEIGHT, "with --sample-weight NAME (sample_weight=)"
    else:
        who = f"input {reader!r}"
        forms = f"{reader}=NAME, {reader}=FIRST:LAST or {reader}=A,B,C"
        advice = f"with --columns {forms} (columns=)"
    return DataError(
        f"{dataset.source}: there is no column {name!r} for {who}{hint} There are: "
        f"{_listing(dataset.names)}. Choose another {advice}"
    )


def _default_target(dataset: Dataset, used: set[str]) -> str:
    free = [name for name in dict.fromkeys(dataset.names) if name not in used]
    if "t" in free:
        return "t"
    named = [name for name in free if not name.startswith(UNNAMED)]
    if len(named) == 1:
        return named[0]
    found = f"could be any of {_listing(free)}" if free else "is missing"
    raise DataError(
        f"{dataset.source}: the target {found}: the program's inputs use "
        f"{_listing(sorted(used)) or 'no column'}; name it with --target (target=)"
    )


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


def _listing(names: Iterable[str]) -> str:
    known = list(names)
    if len(known) <= 12:
        return ", ".join(known)
    return ", ".join([*known[:9], "...", known[-1]]) + f" ({len(known)} in all)"
