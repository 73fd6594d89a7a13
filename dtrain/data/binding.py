"""Bind the columns of a data set to the inputs of a program, by name.

`bind` does not copy a column unless it has to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from dtrain.data.columns import Column, Dataset, Samples, common_length
from dtrain.errors import DataError, UsageError, did_you_mean


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
        target: the column to fit; ``None`` means column ``t``, else the only column
            that no input uses.
        columns: the column for each input or target whose column has another name: a
            column's name, or a range ``first:last`` of scalar columns, which makes one
            vector. A range is in the order of the data set and includes both ends.
        with_target: whether there is a target.

    Raises:
        UsageError: a target is named although there is none.
        DataError: a column is unknown, has no axis of samples, or does not hold
            numbers; a range is reversed or has columns that are not scalar; lengths
            differ; there are no samples; the target is ambiguous.

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
            "no target, or make it an input of the program"
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
    if common_length(used_columns, dataset.source) == 0:
        raise DataError(f"{dataset.source} has no samples")
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
    """Return the names of the columns that a name or a range denotes.

    ``reader`` is the input that reads them; ``None`` means the target.
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
                f"{dataset.columns[name].shape}: a range consists of scalar columns"
            )
    return tuple(names[low : high + 1])


def _unknown(dataset: Dataset, name: str, reader: str | None) -> DataError:
    hint = did_you_mean(name, dataset.columns) or "."
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
    found = f"could be any of {_listing(free)}" if free else "is missing"
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
