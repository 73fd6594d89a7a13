"""Groups: scalars that become the elements of one array, and how it is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.vectorise.sums import Term

Indices = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Stacked:
    """Scalars that are in no array yet, copied into one."""

    members: tuple[int, ...]


@dataclass(frozen=True)
class Mapped:
    """One elementwise function of the members' inputs; a column for each argument."""

    members: tuple[int, ...]
    columns: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Part:
    """The terms of a group's sums that are elements of one array.

    Attributes:
        array: its number.
        read: the indices that are read: one for each column of a matrix, or one for
            each
            sum.
        terms: the terms, in the order of cells, or of sums.
        cells: the index in the matrix, in C order, of each term's factor; ``None`` if
            each sum has one term, so that there is no matrix.
    """

    array: int
    read: Indices
    terms: tuple[Term, ...]
    cells: Indices | None

    def area(self, rows: int) -> int:
        """Return the number of products for so many sums, including those with 0."""
        return len(self.read) * (1 if self.cells is None else rows)


@dataclass(frozen=True)
class Summed:
    """Sums, as their parts, and the biases with the index of their sum."""

    members: tuple[int, ...]
    parts: tuple[Part, ...]
    biases: tuple[tuple[int, Term], ...]


Group = Stacked | Mapped | Summed


def evenly(indices: Indices) -> bool:
    """Return whether indices ascend at equal distances: then they are a slice."""
    steps = np.diff(indices)
    return not len(steps) or (steps[0] > 0 and bool(np.all(steps == steps[0])))
