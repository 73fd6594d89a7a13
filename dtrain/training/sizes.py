"""The sizes of the inputs that weights multiply, exact over all ranks."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dtrain.data.checks import Column
from dtrain.data.ragged import Ragged
from dtrain.diagnose.structure import multiplied
from dtrain.problem.problem import Problem
from dtrain.reduction.blocks import share
from dtrain.worlds.world import World

_ROWS = 4096  # read at a time
_ELEMENTS = 1024  # of a sample; of more, only the largest is compared
_LARGE, _SMALL = 100.0, 0.01


def far_inputs(world: World, problem: Problem) -> list[tuple[str, float]]:
    """Return the inputs whose size is far from 1, with their size; collective.

    The size of an input is its largest absolute value over all samples, so it has the
    same bits on any number of ranks. Only inputs that weights multiply count. An input
    of vectors is large if one of its elements is, which is then named by its column if
    each has one; it is small if all of them are. An input that is always 0 is not.
    """
    found: list[tuple[str, float]] = []
    for name in multiplied(problem.graph):
        samples = problem.samples
        rows = share(len(samples), world.rank, world.size)
        largest = _largest(samples.inputs[name], rows)
        each = world.allgather(largest.tobytes())
        sizes = np.max([np.frombuffer(one) for one in each], axis=0)
        top = float(sizes.max(initial=0.0))
        if top > _LARGE:
            far = np.flatnonzero(sizes > _LARGE)
            names = _names(problem, name, len(sizes))
            found += [(names[i], float(sizes[i])) for i in far.tolist()]
        elif 0 < top < _SMALL:
            found.append((f"input {name!r}", top))
    return found


def _shape(column: Column) -> tuple[int, ...]:
    """Return the shape of a sample; of a ragged column, that of a row of a sample."""
    return (column.values if isinstance(column, Ragged) else column).shape[1:]


def _largest(column: Column, rows: range) -> NDArray[np.float64]:
    """Return the largest absolute value of each element of a sample in some rows."""
    shape = _shape(column)
    size = math.prod(shape)
    largest = np.zeros(size if size <= _ELEMENTS else 1)
    for part in _parts(rows):
        found = column[part]
        values = found.values if isinstance(found, Ragged) else found
        values = np.abs(np.asarray(values, np.float64))
        values = values.reshape(len(values), -1)
        if size > _ELEMENTS:
            values = values.max(axis=1, keepdims=True)
        np.maximum(largest, values.max(axis=0), out=largest)
    return largest


def _parts(rows: range) -> Iterator[slice]:
    for start in range(rows.start, rows.stop, _ROWS):
        yield slice(start, min(start + _ROWS, rows.stop))


def _names(problem: Problem, name: str, size: int) -> list[str]:
    """Return how messages name each element of an input."""
    samples = problem.samples
    columns = dict(zip(samples.inputs, samples.origins, strict=False))[name]
    if len(columns) == size and columns != (name,):
        return [f"column {column!r}" for column in columns]
    shape = _shape(samples.inputs[name])
    if not shape or size == 1:
        return [f"input {name!r}"] * size
    return [
        f"input {name!r} at [{', '.join(map(str, at))}]" for at in np.ndindex(shape)
    ]
