"""Bind the columns of a data set to the inputs of a program, by name.

`resolve` finds the names of the columns, which costs nothing; only these columns are
read. `Binding.samples` makes samples of them. It does not copy a column unless it has
to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dtrain.data.columns import (
    TARGET_KEY,
    WEIGHT_KEY,
    Column,
    Dataset,
    Samples,
    common_length,
    target_key,
    target_text,
)
from dtrain.data.csv_fields import is_number
from dtrain.data.table import UNNAMED, Coded
from dtrain.errors import DataError, UsageError, did_you_mean

Spec = str | Sequence[str]
"""A column's name, a range ``first:last``, or a list of names and ranges."""
Targets = str | Mapping[str, Spec]
"""The target's column, or the columns of the targets of several outputs, by output."""


@dataclass(frozen=True, eq=False)
class Binding:
    """Which columns of a data set a program reads.

    Attributes:
        dataset: the columns.
        inputs: the names of the program's inputs.
        targets: the keys of the targets.
        origins: the names of the columns that form each input, then each target, then
            the weight of samples.
        vectors: for each of these, whether its columns are elements of a vector.
        weighted: whether the last of these is the weight of samples.

    """

    dataset: Dataset
    inputs: Sequence[str]
    targets: Sequence[str]
    origins: list[tuple[str, ...]]
    vectors: list[bool]
    weighted: bool = False

    @property
    def names(self) -> list[str]:
        """The names of the columns that are read, each once."""
        return list(dict.fromkeys(name for names in self.origins for name in names))

    def samples(self, columns: Mapping[str, Column | Coded]) -> Samples:
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
        arrays: dict[str, Column] = {}
        categories: dict[str, tuple[str, ...]] = {}
        keys = [*self.inputs, *self.targets, *([WEIGHT_KEY] * self.weighted)]
        for key, names, vector in zip(keys, self.origins, self.vectors, strict=True):
            found = [columns[name] for name in names]
            if vector:
                arrays[key] = _vector(source, names, found)
            elif isinstance(found[0], Coded):
                categories[key] = found[0].labels
                arrays[key] = found[0].codes
            else:
                arrays[key] = found[0]
        return Samples(
            {name: arrays[name] for name in self.inputs},
            {name: arrays[name] for name in self.targets},
            source,
            self.origins,
            self.dataset.line_of,
            self._weight(arrays, categories),
            categories=categories,
        )

    def _weight(
        self, arrays: Mapping[str, Column], categories: Mapping[str, tuple[str, ...]]
    ) -> Column | None:
        """Return the weights of samples; refuse what is not one number a sample."""
        if not self.weighted:
            return None
        column, names = arrays[WEIGHT_KEY], self.origins[-1]
        if WEIGHT_KEY in categories or column.ndim != 1:
            name = names[0] if len(names) == 1 else "a vector"
            raise DataError(
                f"{self.dataset.source}: column {name!r} must hold one number for each "
                "sample, its weight"
            )
        return column


def bind(
    dataset: Dataset,
    inputs: Sequence[str],
    target: Targets | None,
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
    target: Targets | None,
    columns: Mapping[str, Spec],
    *,
    with_target: bool = True,
    sample_weight: str | None = None,
) -> Binding:
    """Match the columns of a data set to a program's inputs, and find the target.

    Args:
        dataset: the columns.
        inputs: the names of the program's inputs.
        target: the column to fit, or a column for each fitted output; ``None`` means
            column ``t``, else the only column that no input uses.
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
    wanted = _wanted(target)
    for name in columns:
        if name not in inputs and name not in wanted.values():
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
    targets = list(wanted) if with_target else []
    for key in targets:
        spec = wanted[key]
        if target is None and ("t" in inputs or "t" not in columns):
            used = {name for names, _ in found for name in names}
            spec = _default_target(dataset, used | {sample_weight or ""} - {""})
        elif isinstance(spec, str):
            spec = columns.get(spec, spec)
        found.append(_resolve(dataset, spec, key))
    weighted = sample_weight is not None
    if sample_weight is not None:
        found.append(_resolve(dataset, sample_weight, WEIGHT_KEY))
    origins, vectors = [names for names, _ in found], [vector for _, vector in found]
    return Binding(dataset, inputs, targets, origins, vectors, weighted)


def _wanted(target: Targets | None) -> dict[str, Spec]:
    """Return the column of each target by its key."""
    if isinstance(target, Mapping):
        return {target_key(output): spec for output, spec in target.items()}
    return {TARGET_KEY: "t" if target is None else target}


def _resolve(dataset: Dataset, spec: Spec, reader: str) -> tuple[tuple[str, ...], bool]:
    """Return the names of the columns that are denoted, and whether they are a vector.

    ``reader`` is the input, or the target, that reads them.
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
        who = _who(reader)
        raise DataError(f"{dataset.source}: the list of columns for {who} is empty")
    return tuple(names), True


def _names(dataset: Dataset, spec: str, reader: str) -> tuple[str, ...]:
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


def _is_target(reader: str) -> bool:
    return reader.startswith(TARGET_KEY)  # which no input does


def _who(reader: str) -> str:
    if reader == WEIGHT_KEY:
        return "the weight of samples"
    return target_text(reader) if _is_target(reader) else f"input {reader!r}"


def _unknown(dataset: Dataset, name: str, reader: str) -> DataError:
    hint = did_you_mean(name, dataset.names) or "."
    if _is_target(reader):
        output = reader.removeprefix(TARGET_KEY).strip()
        advice = f"with --target {f'{output}=' * bool(output)}NAME (target=)"
    elif reader == WEIGHT_KEY:
        advice = "with --sample-weight NAME (sample_weight=)"
    else:
        forms = f"{reader}=NAME, {reader}=FIRST:LAST or {reader}=A,B,C"
        advice = f"with --columns {forms} (columns=)"
    return DataError(
        f"{dataset.source}: there is no column {name!r} for {_who(reader)}{hint} "
        f"There are: {_listing(dataset.names)}. Choose another {advice}"
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


def _check_kind(source: str, name: str, column: Column | Coded) -> None:
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


def _vector(
    source: str, names: tuple[str, ...], columns: Sequence[Column | Coded]
) -> Column:
    """Return scalar columns as one matrix, (N, columns)."""
    for name, column in zip(names, columns, strict=True):
        if isinstance(column, Coded):
            raise DataError(
                f"{source}: column {name!r} holds text, such as {_example(column)!r}: "
                "the columns of a vector must hold numbers"
            )
        if column.ndim != 1:
            raise DataError(
                f"{source}: the vector of columns includes {name!r} of shape "
                f"{column.shape}: its elements must be scalar columns"
            )
    return _side_by_side([each for each in columns if not isinstance(each, Coded)])


def _example(column: Coded) -> str:
    """Return a text that is not a number."""
    texts = (label for label in column.labels if not is_number(label))
    return next(texts, "")


def _side_by_side(columns: list[Column]) -> Column:
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


def _same_memory(one: Column, other: Column) -> bool:
    return one.__array_interface__ == other.__array_interface__


def _listing(names: Iterable[str]) -> str:
    known = list(names)
    if len(known) <= 12:
        return ", ".join(known)
    return ", ".join([*known[:9], "...", known[-1]]) + f" ({len(known)} in all)"
