"""A sum of vectors over ranks: dtrain's, and MPI_Allreduce of the same library.

MPI_Allreduce promises no order of additions, and carries no flag words and no tail; it
is here as the fastest that a library offers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from benchmarks.contenders import own_vector
from benchmarks.workloads import Case
from dtrain.reduction.tree import PartialSum
from dtrain.worlds.opening import open_world


@dataclass
class Vector:
    """A partial sum and a total."""

    slots: NDArray[Any]
    tail: NDArray[np.float64]
    level: int = 0
    sum: NDArray[Any] | None = None

    def receive(self, slots: NDArray[Any]) -> None:
        """Read the sum where it is."""
        self.sum = slots


class _Sum:
    """Each rank brings one record, as large as a block's partial GradientVector."""

    def __init__(self, case: Case, rank: int, size: int, meeting: str) -> None:
        del meeting  # MPI knows
        self.world = open_world()
        if (self.world.rank, self.world.size) != (rank, size):
            raise RuntimeError(f"rank {rank} of {size} has another world")
        self.own = own_vector(case, rank)
        self.total = Vector(np.zeros_like(self.own), np.zeros(2))


class InPlace(_Sum):
    """dtrain as its trainer has it: partials made, and the sum read, where ranks share.

    What makes and reads them is the engine's work and the optimizer's, so it is left
    out; MPI_Allreduce, too, is timed without the making and the reading.
    """

    def run(self, steps: int) -> None:
        """Sum so many times what the memory holds."""
        for _ in range(steps):
            self._sum(self._rows())

    def outcome(self) -> dict[str, NDArray[Any]]:
        """The sum of what ranks bring."""
        rows = self._rows()
        for row in rows:
            row.slots[:] = self.own
            row.tail[:] = 0
        self._sum(rows)
        return {"sum": np.copy(self.total.sum)}

    def _rows(self) -> Sequence[PartialSum]:
        return list(self.world.rows(self.world.size, self.total).values())

    def _sum(self, rows: Sequence[PartialSum]) -> None:
        self.world.tree_sum(self.world.size, rows, self.total)


class Copied(_Sum):
    """dtrain with partial sums and the sum in each rank's own memory."""

    def run(self, steps: int) -> None:
        """Sum so many times."""
        world, total = self.world, self.total
        partial = Vector(self.own, np.zeros(2))
        for _ in range(steps):
            world.tree_sum(world.size, [partial], total)

    def outcome(self) -> dict[str, NDArray[Any]]:
        """The sum of what ranks bring."""
        return {"sum": np.copy(self.total.sum)}


class Allreduce:
    """MPI_Allreduce in place, which saves it a copy."""

    def __init__(self, case: Case, rank: int, size: int, meeting: str) -> None:
        del size, meeting
        self.own = own_vector(case, rank)
        self.buffer = np.zeros_like(self.own)  # stays so: sums of sums would overflow

    def run(self, steps: int) -> None:
        """Sum so many times."""
        reduce, buffer = MPI.COMM_WORLD.Allreduce, self.buffer
        for _ in range(steps):
            reduce(MPI.IN_PLACE, buffer)

    def outcome(self) -> dict[str, NDArray[Any]]:
        """The sum of what ranks bring."""
        total = np.empty_like(self.own)
        MPI.COMM_WORLD.Allreduce(self.own, total)
        return {"sum": total}
