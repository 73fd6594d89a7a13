"""Bind the columns of a data set to the inputs of a program, by name.

`resolve` finds the names of the columns, which costs nothing; only these columns are
read (`dtrain.data.reading`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dtrain.data.columns import TARGET_KEY, Dataset, Samples
from dtrain.data.reading import Binding
from dtrain.data.table import UNNAMED
from dtrain.errors import DataError, UsageError, did_you_mean, listing

_WEIGHT = "the weight of samples"
Spec = str | Sequence[str]
"""A column's name, a range ``first:last``, or a list of names and ranges."""


def bind(
    dataset: Dataset,
    inputs: Sequence[str],
    target: str | None,
    columns: Mapping[str, Spec],
    *,
    with_target: bool = True,
    missing: str = "refuse",
    categories: Mapping[str, Sequence[str]] | None = None,
    sample_weight: str | None = None,
    usual: Mapping[str, Sequence[str]] | None = None,
) -> Samples:
    """Resolve the columns that a program reads, read them, and make samples.

    See `resolve` and `Binding.read` for the arguments.

    >>> import numpy as np
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
        usual=usual,
    )
    return binding.samples(binding.read(missing, categories), categories)


def resolve(
    dataset: Dataset,
    inputs: Sequence[str],
    target: str | None,
    columns: Mapping[str, Spec],
    *,
    with_target: bool = True,
    sample_weight: str | None = None,
    usual: Mapping[str, Sequence[str]] | None = None,
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
        usual: the names of the columns to read where nothing else is said, by input,
            and the target's by ``(target)``; those that the data set has are read.

    Raises:
        UsageError: a target is named although there is none.
        DataError: a column is unknown, a range is reversed, or the target is ambiguous.

    """
    usual = {
        key: names[0] if len(names) == 1 else list(names)
        for key, names in (usual or {}).items()
        if set(names) <= set(dataset.names)
    }
    wanted = "t" if target is None else target
    for name in columns:
        if name not in inputs and name != wanted:
            raise DataError(
                f"columns names {name!r}, which is neither an input of the program "
                f"({listing(inputs)}) nor the target"
            )
    specs = [columns.get(name, usual.get(name, name)) for name in inputs]
    found = [
        _resolve(dataset, spec, name) for spec, name in zip(specs, inputs, strict=True)
    ]
    if target is not None and not with_target:
        raise UsageError(
            f"target is {target!r}, but nothing is compared with targets here: name "
            "no target, or make it an input of the program"
        )
    if with_target:
        spec: Spec = columns.get(wanted, wanted)
        if target is None and ("t" in inputs or "t" not in columns):
            used = {name for names, _ in found for name in names}
            used |= {sample_weight or ""} - {""}
            spec = usual.get(TARGET_KEY) or _default_target(dataset, used)
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
        f"{listing(dataset.names)}. Choose another {advice}"
    )


def _default_target(dataset: Dataset, used: set[str]) -> str:
    free = [name for name in dict.fromkeys(dataset.names) if name not in used]
    if "t" in free:
        return "t"
    named = [name for name in free if not name.startswith(UNNAMED)]
    if len(named) == 1:
        return named[0]
    found = f"could be any of {listing(free)}" if free else "is missing"
    raise DataError(
        f"{dataset.source}: the target {found}: the program's inputs use "
        f"{listing(sorted(used)) or 'no column'}; name it with --target (target=)"
    )
