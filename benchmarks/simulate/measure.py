"""Measure a machine's constants, and what predictions of it are held against.

Run as ``mpirun -n P python -m benchmarks.simulate.measure FILE``. Every figure is taken
on all ranks at once, so that what they share is shared, and is the slowest rank's best
of several rounds: what disturbs a round only adds to it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.contenders.dtrain_trainer import program_of
from benchmarks.contenders.mpi_sums import Vector
from benchmarks.simulate.machine import Machine
from benchmarks.simulate.model import Job, step
from benchmarks.workloads import Case
from dtrain.parallel.mpi import MPIWorld
from dtrain.parallel.world import SoloWorld, World
from dtrain.training.settings import Settings
from dtrain.training.trainer import Trainer

SIZES = [1 << k for k in range(12, 27, 2)]  # bytes of the arrays that are added
LENGTHS = [1_000, 10_000, 100_000, 1_000_000, 10_000_000]  # weights of the sums
MODELS = [(784, 128, 10), (784, 512, 512, 10)]  # widths of the MLPs that are trained
SAMPLES = 256  # of a rank, in a step: two blocks
ROUND, SECONDS, LEAST = 1e-3, 0.3, 9  # a round, all rounds, how many there are


def best(world: World, work: Callable[[], object]) -> float:
    """Seconds of a call, collective: the slowest rank's best round."""
    calls = 1
    while True:
        took = np.array([_round(world, work, calls)])
        world.broadcast(took)  # all make as many calls
        if took[0] * calls > ROUND:
            break
        calls *= 2
    count = max(LEAST, int(SECONDS / (took[0] * calls)))
    rounds = [_round(world, work, calls) for _ in range(count)]
    own = np.array([min(rounds)])
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

    return best(world, work)


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
        found[name] = best(world, lambda t=trainer, b=batch: t.step(b, 1e-3))
    return found


def constants(near: World, apart: World) -> Machine:
    """Measure a machine, with one rank on each of its cores."""
    adds, takes, swaps = [], [], []
    for size in SIZES:
        a, b, c = np.ones((3, size // 4), np.float32)  # zeros have no pages yet
        adds.append(best(near, lambda a=a, b=b, c=c: np.add(a, b, c)))
        takes.append(best(near, lambda a=a: np.multiply(a, 0.5, a)))
    few = np.zeros(16, np.float32)
    call = best(near, lambda: np.add(few, few, few))
    partner = near.rank ^ 1
    for size in (64, *SIZES):
        send, receive = np.ones((2, size), np.uint8)
        sends, receives = [(partner, send)], [(partner, receive)]
        swaps.append(best(apart, lambda s=sends, r=receives: apart.swap(s, r)))
    cores = os.cpu_count() or 1
    found = Machine(
        name=f"{near.size} ranks on {near.host}, which has {cores} cores",
        cores=cores,
        alpha=swaps[0] / 2,  # the model counts the wait for a message as one more
        memory=3 * cores * max(n / s for n, s in zip(SIZES, adds, strict=True)),
        barrier=0.0,
        call=call,
        sizes=SIZES,
        beta=_rates(swaps[1:], swaps[0]),
        gamma=_rates(adds, call),
        scale=_rates(takes, call),
    )
    rest = step(found, Job(2, 2, 16, blocks=2)).seconds  # of a short sum
    return replace(found, barrier=max(summed(near, 16) - rest, 0))


def _rates(seconds: list[float], start: float) -> list[float]:
    """Seconds a byte at each size, without what any size costs."""
    return [max(s - start, 0) / n for s, n in zip(seconds, SIZES, strict=True)]


def main(path: str) -> None:
    """Measure; rank 0 writes what was found: constants only where ranks are two."""
    threadpool_limits(1)
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
