"""Groups: scalars that become the elements of one array, and how it is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.vectorise.sums import Term

Places = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Stacked:
    """Scalars that are in no array, copied into one."""

    members: tuple[int, ...]


@dataclass(frozen=True)
class Mapped:
    """One elementwise function of the members' inputs, a column for each argument."""

    members: tuple[int, ...]
    columns: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Part:
    """What the sums of a group read from one array.

    Attributes:
        array: its number.
        read: the places that are read: those of a matrix's columns, or one for each
            sum.
        terms: the terms, in the order of cells, or of sums.
        cells: where in the matrix, in C order, the factor of each term is; ``None``
            where each sum has one term, so that there is no matrix.
    """

    array: int
    read: Places
    terms: tuple[Term, ...]
    cells: Places | None

    def area(self, rows: int) -> int:
        """How many products are computed for so many sums, those with 0 included."""
        return len(self.read) * (1 if self.cells is None else rows)


@dataclass(frozen=True)
class Summed:
    """Sums, part by part; and the biases, each with the place of its sum."""

    members: tuple[int, ...]
    parts: tuple[Part, ...]
    biases: tuple[tuple[int, Term], ...]


Group = Stacked | Mapped | Summed


def evenly(places: Places) -> bool:
    """Whether places are at one distance, in ascending order: then they are a slice."""
    steps = np.diff(places)
    return not len(steps) or (steps[0] > 0 and bool(np.all(steps == steps[0])))
