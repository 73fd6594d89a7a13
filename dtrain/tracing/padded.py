"""Inputs of ragged columns: padded to a length, of which a part is the sample's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtrain.functions.base import Shape
from dtrain.tracing.builder import Builder
from dtrain.tracing.symbol import Symbol

LENGTH = 16
"""The length of a ragged input in a trace without data."""


@dataclass(frozen=True)
class Padded:
    """The shape of an input whose samples are padded.

    Attributes:
        shape: (L, ...), of one sample.
        lengths: the name of the input with the number of the sample's own rows; inputs
            with one name have equal lengths in every sample.
    """

    shape: Shape
    lengths: str


Given = int | Sequence[int | None] | Padded
"""An input's shape for one sample; it begins with ``None`` for a ragged input."""


def lengths_of(name: str) -> str:
    """Return the name of the input that has the lengths of a ragged input."""
    return f"(length of {name})"


def inputs_of(
    builder: Builder, names: Sequence[str], shapes: Mapping[str, Given]
) -> dict[str, Symbol]:
    """Return the symbols of a program's inputs; lengths become further inputs."""
    values: dict[str, Symbol] = {}
    padded: dict[str, Padded] = {}
    for name in names:
        shape = _shape(shapes.get(name, ()), next(iter(padded), name))
        if isinstance(shape, Padded):
            padded[name] = shape
            shape = shape.shape
        values[name] = builder.input(name, shape)
    for name, shape in padded.items():
        number = builder.inputs.get(shape.lengths)
        if number is None:
            number = builder.input(shape.lengths, (), "int").number
        builder.ragged[values[name].number] = number
    return values


def _shape(shape: Given, first: str) -> Shape | Padded:
    """Return a shape; ragged inputs without data have the lengths of the first."""
    if isinstance(shape, Padded):
        return shape
    if isinstance(shape, int | np.integer):
        return (int(shape),)
    if len(shape) and shape[0] is None:
        return Padded((LENGTH, *map(_size, shape[1:])), lengths_of(first))
    return tuple(map(_size, shape))


def _size(size: int | None) -> int:
    if size is None:
        raise ValueError("only the first axis of an input may be ragged (None)")
    return int(size)


def mask(lengths: Any, size: int) -> Any:
    """Return which of so many rows are the sample's: (size,) truth values."""
    return np.less(np.arange(size), lengths)


def by_rows(present: Any, ndim: int) -> Any:
    """Return a mask of rows with so many axes, to broadcast over the rest."""
    return np.reshape(present, (*np.shape(present), *(1,) * (ndim - 1)))
