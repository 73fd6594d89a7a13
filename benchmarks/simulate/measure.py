"""Measure a machine's constants, and what predictions of it are held against.

Run as ``mpirun -n P python -m benchmarks.simulate.measure FILE``. Every figure is taken
on all ranks at once, so that what they share is shared, and is the slowest rank's best
of several rounds, in several passes: what disturbs one only adds to it.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
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
from dtrain.training.settings import Settings
from dtrain.training.trainer import Trainer
from dtrain.worlds.local import SoloWorld
from dtrain.worlds.mpi import MPIWorld
from dtrain.worlds.world import World

SIZES = [1 << k for k in range(12, 27, 2)]  # bytes of the arrays that are added
LENGTHS = [1_000, 10_000, 100_000, 1_000_000, 10_000_000]  # weights of the sums
MODELS = [(784, 128, 10), (784, 512, 512, 10)]  # widths of the MLPs that are trained
SAMPLES = 256  # of a rank, in a step: two blocks
FEW, MORE = 16, 20_000  # weights of sums with one barrier, and with two
ROUND, SECONDS, LEAST = 1e-3, 0.1, 9  # a round, all rounds, how many there are
PASSES = 3  # through everything, so that a while in which others work spoils none

Seconds = dict[Any, float]


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
        np.multiply(slots, 1 / world.size, out=slots)  # so that sums stay what they are

    def work() -> None:
        rows = list(world.rows(world.size, total).values())
        world.tree_sum(world.size, rows, total, scale=halve)

    return best(world, work)


def trainers(world: World, widths: tuple[int, ...]) -> tuple[int, list[Trainer]]:
    """Count the weights of an MLP; have it trained by each rank alone, and by all."""
    case = Case("", "", "mlp", SAMPLES, widths=widths)
    settings = Settings(
        epochs=1 << 20, learning_rate=1e-3, target="t", block=SAMPLES // 2
    )
    made = []
    for on in (SoloWorld(), world):
        cut = replace(case, samples=SAMPLES * on.size)
        program, columns, weights = program_of(cut), cut.columns(), cut.weights()
        made.append(Trainer(on, program, columns, settings, weights))
    return sum(w.size for w in weights.values()), made


def stepped(world: World, trainer: Trainer) -> float:
    """Seconds of a training step."""
    batch = trainer.order.at(0)
    return best(world, lambda: trainer.step(batch, 1e-3))


class Rates:
    """What arrays of all sizes take to be added, multiplied and sent; on all ranks."""

    def __init__(self, near: World, apart: World) -> None:
        self._near, self._apart = near, apart
        self._partner = near.rank ^ 1
        # Zeros would have no pages yet.
        self._arrays = [np.ones((3, size // 4), np.float32) for size in SIZES]

    def add(self, i: int) -> float:
        """Seconds to add two arrays."""
        a, b, c = self._arrays[i]
        return best(self._near, lambda: np.add(a, b, c))

    def scale(self, i: int) -> float:
        """Seconds to multiply one by a number."""
        a = self._arrays[i][0]
        return best(self._near, lambda: np.multiply(a, 0.5, a))

    def call(self) -> float:
        """Seconds that NumPy takes to begin an operation."""
        few = np.zeros(16, np.float32)
        return best(self._near, lambda: np.add(few, few, few))

    def swap(self, size: int) -> float:
        """Seconds for two ranks to send each other an array."""
        send, receive = np.ones((2, size), np.uint8)
        sends, receives = [(self._partner, send)], [(self._partner, receive)]
        return best(self._apart, lambda: self._apart.swap(sends, receives))


def measured(near: World, apart: World) -> dict[str, Seconds]:
    """Measure everything some times over; the least of each."""
    rates = Rates(near, apart)
    everything: dict[str, dict[Any, Callable[[], float]]] = {
        "add": {n: partial(rates.add, i) for i, n in enumerate(SIZES)},
        "scale": {n: partial(rates.scale, i) for i, n in enumerate(SIZES)},
        "call": {0: rates.call},
        "shared": {n: partial(summed, near, n) for n in (FEW, MORE, *LENGTHS)},
        "messages": {n: partial(summed, apart, n) for n in (FEW, MORE, *LENGTHS)},
        "alone": {},
        "together": {},
    }
    if near.size == 2:
        everything["swap"] = {n: partial(rates.swap, n) for n in (64, *SIZES)}
    for widths in MODELS:
        weights, (alone, together) = trainers(near, widths)
        everything["alone"][weights] = partial(stepped, near, alone)
        everything["together"][weights] = partial(stepped, near, together)
    found: dict[str, Seconds] = {kind: {} for kind in everything}
    for _ in range(PASSES):
        for kind, cases in everything.items():
            for case, work in cases.items():
                took = work()
                found[kind][case] = min(took, found[kind].get(case, took))
    return found


def constants(found: dict[str, Seconds], host: str) -> Machine:
    """Make a machine of what was measured on two ranks, each on a core of its own.

    What no primitive shows, Python between them, is in short sums: their time without
    all that the model has is `start`, `barrier` and `alpha`.
    """
    cores = os.cpu_count() or 1
    call, swaps = found["call"][0], list(found["swap"].values())
    bare = Machine(
        name=f"2 ranks on {host}, which has {cores} cores",
        cores=cores,
        alpha=0.0,
        memory=math.inf,
        start=0.0,
        barrier=0.0,
        call=call,
        sizes=SIZES,
        beta=_rates(swaps[1:], swaps[0]),
        gamma=_rates(list(found["add"].values()), call),
        scale=_rates(list(found["scale"].values()), call),
    )
    few, more = Job(2, 2, FEW, blocks=2), Job(2, 2, MORE, blocks=2)
    one, two = (
        found["shared"][job.weights] - step(bare, job).seconds for job in (few, more)
    )
    barrier = max(two - one, 0.0)
    near = replace(bare, barrier=barrier, start=max(one - barrier, 0.0))
    apart = replace(few, per_host=1)
    each = step(replace(near, alpha=1.0), apart).seconds - step(near, apart).seconds
    left = found["messages"][FEW] - step(near, apart).seconds
    return replace(near, alpha=max(left / each, 0.0))


def _rates(seconds: list[float], start: float) -> list[float]:
    """Seconds a byte at each size, without what any size costs."""
    return [max(s - start, 0) / n for s, n in zip(seconds, SIZES, strict=True)]


def main(path: str) -> None:
    """Measure; rank 0 writes what was found: constants only where ranks are two."""
    threadpool_limits(1)
    np.seterr(all="ignore")  # rows hold what was there before
    near, apart = MPIWorld(), MPIWorld(shared=False)
    found = measured(near, apart)
    largest = max(SIZES)
    written: dict[str, Any] = {
        "ranks": near.size,
        # Two arrays are read and one is written, out of no cache.
        "memory": 3 * near.size * largest / found["add"][largest],
        # Not the sums that constants are made of.
        **{
            kind: {n: found[kind][n] for n in LENGTHS}
            for kind in ("shared", "messages")
        },
        **{kind: found[kind] for kind in ("alone", "together")},
    }
    if near.size == 2:
        written["machine"] = asdict(constants(found, near.host))
    if near.rank == 0:
        Path(path).write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
