"""Groups: scalars that become elements of one array, and the array's computation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.vectorise.sums import Term

Places = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Stacked:
    """Scalars outside of any array, copied into a new one."""

    members: tuple[int, ...]


@dataclass(frozen=True)
class Mapped:
    """One elementwise function of the members' inputs, a column for each argument."""

    members: tuple[int, ...]
    columns: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Part:
    """The terms that the sums of a group read from one array.

    Attributes:
        array: its number.
        read: the positions that are read: one for each column of a matrix, or one for
            each sum.
        terms: the terms, in the order of cells, or of sums.
        cells: the position in the matrix, in C order, of each term's factor; ``None``
            where each sum has one term, so that there is no matrix.
    """

    array: int
    read: Places
    terms: tuple[Term, ...]
    cells: Places | None

    def area(self, rows: int) -> int:
        """Return the number of products for ``rows`` sums, including those with 0."""
        return len(self.read) * (1 if self.cells is None else rows)


@dataclass(frozen=True)
class Summed:
    """Sums, part by part; and the biases, each with the position of its sum."""

    members: tuple[int, ...]
    parts: tuple[Part, ...]
    biases: tuple[tuple[int, Term], ...]


Group = Stacked | Mapped | Summed


def evenly(places: Places) -> bool:
    """Return whether positions ascend in equal steps, so that they form a slice."""
    steps = np.diff(places)
    return not len(steps) or (steps[0] > 0 and bool(np.all(steps == steps[0])))
