"""The padding of ragged columns: to which lengths, of which there are few.

A length is rounded up to one of eight sizes in each octave: 9, 10, ..., 16, 18, 20, and
so on to 32, 36; up to 8 all occur. So at most an eighth is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtrain.data.columns import TARGET_KEY, Samples
from dtrain.errors import DataError, ProgramError
from dtrain.functions.base import Shape
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.padded import LENGTH, Given, Padded, lengths_of

Sizes = tuple[int, ...]
"""The length that each group of ragged columns is padded to; empty without any."""


def padded(lengths: NDArray[np.intp]) -> NDArray[np.intp]:
    """Round lengths up to those that are padded to.

    >>> padded(np.array([1, 4, 8, 9, 15, 17, 33, 60])).tolist()
    [1, 4, 8, 9, 15, 18, 36, 60]
    """
    bits = np.frexp(np.maximum(lengths - 1, 0))[1]  # the number of bits of length − 1
    step = np.left_shift(1, np.maximum(bits - 4, 0))
    return np.asarray(-(-lengths // step) * step, np.intp)


@dataclass(frozen=True)
class Padding:
    """Which columns are ragged, and which of these have the same lengths.

    Columns whose lengths are equal in every sample are a group; they are padded to one
    size. Other groups are padded independently.

    Attributes:
        names: for each group, the name of the input with its lengths.
        groups: the number of the group of each ragged input, or ``(target)``.
        given: the shape of each input's sample, with ``None`` for a ragged axis.
        standard: the sizes at which the program is identified.
        target: the shape of one sample's target, if there is one.
    """

    names: tuple[str, ...]
    groups: Mapping[str, int]
    given: Mapping[str, tuple[int | None, ...]]
    standard: Sizes
    target: tuple[int | None, ...] | None

    @classmethod
    def of(cls, samples: Samples) -> Padding:
        """Return the padding of samples; there are no groups if none is ragged.

        Raises:
            DataError: the target is ragged, and has the lengths of no input.
        """
        names: list[str] = []
        lengths: list[NDArray[np.intp]] = []
        groups: dict[str, int] = {}
        for key, column in samples.ragged.items():
            same = (np.array_equal(column.lengths, each) for each in lengths)
            group = next((i for i, equal in enumerate(same) if equal), len(lengths))
            if group == len(lengths):
                if key == TARGET_KEY:
                    raise _no_such_lengths(samples, column.lengths, lengths)
                names.append(lengths_of(key))
                lengths.append(column.lengths)
            groups[key] = group
        standard = tuple(
            int(padded(np.maximum(each.min(keepdims=True), LENGTH))[0])
            for each in lengths
        )
        given = {name: column.shape[1:] for name, column in samples.inputs.items()}
        return cls(tuple(names), groups, given, standard, samples.target_shape)

    def __bool__(self) -> bool:
        return bool(self.names)

    def shapes(self, sizes: Sizes) -> dict[str, Given]:
        """Return the inputs' shapes for one sample, to trace with."""
        shapes: dict[str, Given] = {}
        for name, shape in self.given.items():
            if name in self.groups:
                group = self.groups[name]
                size = (sizes[group], *_known(shape[1:]))
                shapes[name] = Padded(size, self.names[group])
            else:
                shapes[name] = _known(shape)
        return shapes

    def target_shape(self, sizes: Sizes) -> Shape | None:
        """Return the shape of one sample's target."""
        if self.target is None or self.rows is None:
            return None if self.target is None else _known(self.target)
        return sizes[self.groups[TARGET_KEY]], *_known(self.target[1:])

    @property
    def rows(self) -> str | None:
        """The input with the lengths of the target; ``None`` if it is not ragged."""
        group = self.groups.get(TARGET_KEY)
        return None if group is None else self.names[group]

    def lengths(self, samples: Samples) -> dict[str, NDArray[np.intp]]:
        """Return the lengths of the samples' columns, by the names of their inputs."""
        ragged = samples.ragged
        return {self.names[i]: ragged[key].lengths for key, i in self.groups.items()}

    def sizes(self, samples: Samples) -> list[Sizes]:
        """Return the sizes that single samples are padded to, ascending."""
        columns = [padded(each) for each in self.lengths(samples).values()]
        return sorted(set(zip(*(column.tolist() for column in columns), strict=True)))

    def largest(self, samples: Samples) -> Sizes:
        """Return the sizes that a block of all samples is padded to."""
        return tuple(np.max(self.sizes(samples), axis=0).tolist()) if self else ()


def check_same_weights(graph: FlowGraph, other: FlowGraph, padding: Padding) -> None:
    """Check that a program has the same weights for other padded lengths.

    Raises:
        ProgramError: naming the first weight that differs.
    """
    for name in dict.fromkeys([*graph.specs, *other.specs]):
        ours, theirs = graph.specs.get(name), other.specs.get(name)
        if ours is None or theirs is None:
            found = "occurs for some lengths only"
        elif ours.shape != theirs.shape:
            found = f"has shape {ours.shape} for one and {theirs.shape} for another"
        elif ours.initializer != theirs.initializer or ours.bounds != theirs.bounds:
            found = "has another initialiser, or other bounds, for each"
        else:
            continue
        source = (ours or theirs).source  # type: ignore[union-attr]
        ragged = ", ".join(name for name in padding.groups if name in padding.given)
        raise ProgramError(
            f"{source}: weight {name!r} depends on the padded length of a ragged input "
            f"({ragged}): it {found}; the length differs from block to block: choose a "
            "fixed shape, and reduce over the rows with where=present(...)"
        )


def _known(shape: tuple[int | None, ...]) -> Shape:
    return tuple(int(size) for size in shape if size is not None)


def _no_such_lengths(
    samples: Samples, target: NDArray[np.intp], inputs: list[NDArray[np.intp]]
) -> DataError:
    if not inputs:
        return DataError(
            f"{samples.source}: the target is ragged, but no input of the program is"
        )
    row = int(np.flatnonzero(inputs[0] != target)[0])
    return DataError(
        f"{samples.where(row)}: the target has length {target[row]}, the ragged input "
        f"has {inputs[0][row]}: a ragged target must have the lengths of an input"
    )
