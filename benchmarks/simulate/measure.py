"""Measure a machine's constants and its sums: ``mpirun -n P python -m
benchmarks.simulate.measure FILE``.

Every figure is taken on all ranks at once, so that what they share is shared, and is
the slowest rank's median. Rank 0 writes JSON: the constants, and what sums have taken.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.contenders.mpi_sums import Vector
from benchmarks.simulate.machine import Machine
from dtrain.parallel.mpi import MPIWorld
from dtrain.parallel.world import World

SIZES = [1 << k for k in range(12, 27, 2)]  # bytes of the arrays that are added
LENGTHS = [1_000, 10_000, 100_000, 1_000_000, 10_000_000]  # weights of the sums
ROUNDS, SECONDS = 15, 0.02


def median(world: World, work: Callable[[], object]) -> float:
    """Seconds of a call, collective: the slowest rank's median of some rounds."""
    calls = 1
    while True:
        world.allgather(b"")
        begun = time.perf_counter()
        for _ in range(calls):
            work()
        took = np.array([(time.perf_counter() - begun) / calls])
        world.broadcast(took)  # all make as many calls
        if took[0] * calls > SECONDS / 4:
            break
        calls *= 2
    rounds = []
    for _ in range(ROUNDS):
        world.allgather(b"")
        begun = time.perf_counter()
        for _ in range(calls):
            work()
        rounds.append((time.perf_counter() - begun) / calls)
    own = np.array([statistics.median(rounds)])
    slowest = [np.frombuffer(data)[0] for data in world.allgather(own.tobytes())]
    return float(max(slowest))


def summed(world: World, length: int) -> float:
    """Seconds of a sum of vectors, one a rank, made where it is wanted."""
    length = -(-length // 16) * 16
    total = Vector(np.zeros(length, np.float32), np.zeros(3))

    def work() -> None:
        rows = list(world.rows(world.size, total).values())
        world.tree_sum(world.size, rows, total, scale=halve)

    def halve(slots: np.ndarray, tail: np.ndarray) -> None:  # type: ignore[type-arg]
        del tail
        np.multiply(slots, 0.5, out=slots)

    return median(world, work)


def rates(seconds: list[float], start: float) -> list[float]:
    """Seconds a byte at each size, without what any size costs."""
    return [max(s - start, 0) / n for s, n in zip(seconds, SIZES, strict=True)]


def main(path: str) -> None:
    """Measure, and write what was found."""
    near, apart = MPIWorld(), MPIWorld(shared=False)
    cores = len(os.sched_getaffinity(0) | set(range(os.cpu_count() or 1)))
    adds, takes = [], []
    for size in SIZES:
        a, b = np.zeros(size // 4, np.float32), np.zeros(size // 4, np.float32)
        adds.append(median(near, lambda a=a, b=b: np.add(a, b, a)))
        takes.append(median(near, lambda a=a: np.multiply(a, 0.5, a)))
    few = np.zeros(16, np.float32)
    call = median(near, lambda: np.add(few, few, few))
    partner = near.rank ^ 1
    swaps = []
    for size in (64, *SIZES):
        one, two = np.zeros(size, np.uint8), np.zeros(size, np.uint8)

        def swap(one: object = one, two: object = two) -> None:
            here = partner < near.size
            apart.swap([(partner, one)] * here, [(partner, two)] * here)  # type: ignore[list-item]

        swaps.append(median(apart, swap))
    machine = Machine(
        name=f"{near.size} ranks on {cores} cores",
        cores=cores,
        alpha=swaps[0],
        memory=3 * cores * max(n / s for n, s in zip(SIZES, adds, strict=True)),
        barrier=summed(near, 16),
        call=call,
        sizes=SIZES,
        beta=rates(swaps[1:], swaps[0]),
        gamma=rates(adds, call),
        scale=rates(takes, call),
    )
    found = {
        "machine": asdict(machine),
        "ranks": near.size,
        "shared": {n: summed(near, n) for n in LENGTHS},
        "messages": {n: summed(apart, n) for n in LENGTHS},
    }
    if near.rank == 0:
        Path(path).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
