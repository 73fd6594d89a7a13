"""Time one sum of records over ranks: by messages, by shared memory, by MPI_Allreduce.

    mpirun -n 2 python benchmarks/reduction.py [LENGTH ...]

Every rank brings one record of LENGTH float32, and wants the sum in memory of its own;
"in place" makes its record in the shared memory, and reads the sum there.
The ways alternate, because a machine is not equally fast all the time; printed are
the slowest rank's median in microseconds, and the median of the paired ratios of
MPI_Allreduce's time to each way's. MPI_Allreduce has no fixed order of additions, flag
words or tails; it is here as the fastest that a library offers.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from dtrain.parallel.mpi import MPIWorld

LENGTHS = (1_000, 100_000, 670_000, 25_000_000)
ROUNDS = 15
SECONDS = 0.05  # one timing repeats a call for about so long


@dataclass
class Vector:
    """A Record of our own."""

    slots: NDArray[np.float32]
    tail: NDArray[np.float64]
    level: int = 0


def seconds(call: Callable[[], object], times: int) -> float:
    """Time one call, the mean of several; the slowest rank's."""
    MPI.COMM_WORLD.Barrier()
    start = time.perf_counter()
    for _ in range(times):
        call()
    taken = (time.perf_counter() - start) / times
    return MPI.COMM_WORLD.allreduce(taken, MPI.MAX)


def measure(worlds: dict[str, MPIWorld], length: int) -> None:
    """Time all ways of summing records of one length, and print a line for each."""
    size, rank = MPI.COMM_WORLD.size, MPI.COMM_WORLD.rank
    own = Vector(np.full(length, rank, np.float32), np.zeros(2))
    total = Vector(np.zeros(length, np.float32), np.zeros(2))

    def in_place(world: MPIWorld) -> None:
        partials = world.rows(size, total).values()
        world.tree_sum(size, partials, total, take=lambda *_: None)

    buffer = own.slots.copy()
    reduce = partial(MPI.COMM_WORLD.Allreduce, MPI.IN_PLACE, buffer)
    ways: dict[str, Callable[[], object]] = {"MPI_Allreduce": reduce}
    for name, world in worlds.items():
        ways[name] = partial(world.tree_sum, size, [own], total)
        ways[name]()
        if not (total.slots == size * (size - 1) / 2).all():
            raise AssertionError(f"{name}: a wrong sum")
    ways["in place"] = partial(in_place, worlds["shared memory"])
    times = {}
    for name, call in ways.items():
        call()
        once = seconds(call, 3)
        times[name] = max(1, int(SECONDS / once))
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        buffer[:] = 0
        for name, call in ways.items():
            taken[name].append(seconds(call, times[name]))
    for name, values in taken.items():
        pairs = zip(taken["MPI_Allreduce"], values, strict=True)
        ratio = statistics.median(theirs / ours for theirs, ours in pairs)
        if rank == 0:
            median = statistics.median(values) * 1e6
            print(f"{length:>11,} {name:<13} {median:>10,.1f} µs {ratio:>7.2f}")


def main(arguments: list[str]) -> None:
    """Measure the lengths given, or all of LENGTHS."""
    worlds = {"messages": MPIWorld(shared=False), "shared memory": MPIWorld()}
    if worlds["messages"].rank == 0:
        print(f"{worlds['messages'].size} ranks, {worlds['messages'].mpi}")
    for length in [int(text) for text in arguments] or LENGTHS:
        measure(worlds, length)


if __name__ == "__main__":
    main(sys.argv[1:])
