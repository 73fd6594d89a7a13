"""Measure a machine's constants, and sums and steps to hold predictions against:
``mpirun -n P python -m benchmarks.simulate.measure FILE``.

Every figure is taken on all ranks at once, so that what they share is shared, and is
the slowest rank's median.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.contenders.dtrain_trainer import program_of
from benchmarks.contenders.mpi_sums import Vector
from benchmarks.simulate.machine import Machine
from benchmarks.workloads import Case
from dtrain.parallel.mpi import MPIWorld
from dtrain.parallel.world import SoloWorld, World
from dtrain.training.settings import Settings
from dtrain.training.trainer import Trainer

SIZES = [1 << k for k in range(12, 27, 2)]  # bytes of the arrays that are added
LENGTHS = [1_000, 10_000, 100_000, 1_000_000, 10_000_000]  # weights of the sums
MODELS = [(784, 128, 10), (784, 512, 512, 10)]  # widths of the MLPs that are trained
SAMPLES = 256  # of a rank, in a step: two blocks
ROUNDS, SECONDS = 11, 0.02


def median(world: World, work: Callable[[], object]) -> float:
    """Seconds of a call, collective: the slowest rank's median of some rounds."""
    calls = 1
    while True:
        took = np.array([_round(world, work, calls)])
        world.broadcast(took)  # all make as many calls
        if took[0] * calls > SECONDS / 4:
            break
        calls *= 2
    rounds = [_round(world, work, calls) for _ in range(ROUNDS)]
    own = np.array([statistics.median(rounds)])
    return float(max(np.frombuffer(each)[0] for each in world.allgather(own.tobytes())))


def _round(world: World, work: Callable[[], object], calls: int) -> float:
    world.allgather(b"")
    begun = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - begun) / calls


def summed(world: World, length: int) -> float:
    """Seconds of a sum of vectors, one a rank, made where it is wanted."""
    length = -(-length // 16) * 16
    total = Vector(np.zeros(length, np.float32), np.zeros(2))

    def halve(slots: NDArray[Any], tail: NDArray[np.float64]) -> None:
        del tail
        np.multiply(slots, 0.5, out=slots)

    def work() -> None:
        rows = list(world.rows(world.size, total).values())
        world.tree_sum(world.size, rows, total, scale=halve)

    return median(world, work)


def trained(world: World, widths: tuple[int, ...]) -> dict[str, float]:
    """Seconds of a training step, of each rank alone and of all together."""
    case = Case("", "", "mlp", SAMPLES, widths=widths)
    settings = Settings(
        epochs=1 << 20, learning_rate=1e-3, target="t", block=SAMPLES // 2
    )
    found: dict[str, float] = {"weights": sum(w.size for w in case.weights().values())}
    for name, on in (("alone", SoloWorld()), ("together", world)):
        cut = replace(case, samples=SAMPLES * on.size)
        program, columns, weights = program_of(cut), cut.columns(), cut.weights()
        trainer = Trainer(on, program, columns, settings, weights)
        batch = trainer.order.at(0)
        found[name] = median(world, lambda t=trainer, b=batch: t.step(b, 1e-3))
    return found


def constants(near: World, apart: World) -> Machine:
    """Measure a machine, with one rank on each of its cores."""
    adds, takes, swaps = [], [], []
    for size in SIZES:
        a, b = np.zeros(size // 4, np.float32), np.zeros(size // 4, np.float32)
        adds.append(median(near, lambda a=a, b=b: np.add(a, b, a)))
        takes.append(median(near, lambda a=a: np.multiply(a, 0.5, a)))
    few = np.zeros(16, np.float32)
    call = median(near, lambda: np.add(few, few, few))
    partner = near.rank ^ 1
    for size in (64, *SIZES):
        send, receive = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        sends, receives = [(partner, send)], [(partner, receive)]
        swaps.append(median(apart, lambda s=sends, r=receives: apart.swap(s, r)))
    cores = os.cpu_count() or 1
    return Machine(
        name=f"{near.size} ranks on {near.host}, which has {cores} cores",
        cores=cores,
        alpha=swaps[0],
        memory=3 * cores * max(n / s for n, s in zip(SIZES, adds, strict=True)),
        barrier=summed(near, 16),
        call=call,
        sizes=SIZES,
        beta=_rates(swaps[1:], swaps[0]),
        gamma=_rates(adds, call),
        scale=_rates(takes, call),
    )


def _rates(seconds: list[float], start: float) -> list[float]:
    """Seconds a byte at each size, without what any size costs."""
    return [max(s - start, 0) / n for s, n in zip(seconds, SIZES, strict=True)]


def main(path: str) -> None:
    """Measure; rank 0 writes what was found: constants only where ranks are two."""
    near, apart = MPIWorld(), MPIWorld(shared=False)
    found: dict[str, Any] = {"ranks": near.size}
    if near.size == 2:
        found["machine"] = asdict(constants(near, apart))
    found["shared"] = {n: summed(near, n) for n in LENGTHS}
    found["messages"] = {n: summed(apart, n) for n in LENGTHS}
    found["trained"] = [trained(near, widths) for widths in MODELS]
    if near.rank == 0:
        Path(path).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
