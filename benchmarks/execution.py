"""When threads help: ``python -m benchmarks.execution [BACKEND [TEXT]]``.

A step of the trainer under each execution model, in turns, in one process of two
threads with one BLAS thread each: medians, and what the models gain over `sequential`.
All must end with the same bits. TEXT chooses the cases whose names have it.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.contenders.dtrain_trainer import program_of
from benchmarks.workloads import CASES
from dtrain import SoloWorld, layers, program, weight
from dtrain.engine.execution.models import EXECUTIONS
from dtrain.tracing.trace import Program
from dtrain.training.settings import Settings
from dtrain.training.trainer import Trainer

THREADS = 2
SECONDS = 1.5  # for each case, after the first steps
STEPS = 100_000  # more than are taken


def towers(width: int, count: int = 4) -> Program:
    """Branches that meet in the end: two layers each."""

    @program
    def towers(x: Any) -> Any:
        tops = []
        for k in range(count):
            h = np.tanh(layers.dense(x, width, name=f"{k}.first"))
            h = np.tanh(layers.dense(h, width, name=f"{k}.second"))
            tops.append(layers.dense(h, 1, name=f"{k}.top"))
        return sum(tops)

    return towers


def recurrent(width: int) -> Program:
    """One layer, unrolled over time: nothing but a chain, forward."""

    @program
    def recurrent(x: Any) -> Any:
        h = weight("h", width)
        for t in range(20):
            h = np.tanh(weight("W", (width, width)) @ h + x * (0.1 * t))
        return layers.dense(h, 1, name="top")

    return recurrent


def _cases() -> dict[str, tuple[Program, dict[str, Any]]]:
    rng = np.random.default_rng(0)

    def columns(samples: int, width: int) -> dict[str, Any]:
        x = rng.standard_normal((samples, width)).astype(np.float32) / 8
        return {"x": x, "t": rng.standard_normal((samples, 1)).astype(np.float32)}

    wanted = [case for case in CASES if case.workload in ("W1", "W2", "W3", "W4")]
    cases = {
        case.name: (program_of(case), case.columns())
        for case in wanted
        if case.dtype == "float32" and "relu" not in case.name
    }
    for width, samples in ((64, 4096), (256, 256), (1024, 256)):
        name = f"4 towers of {width} × {width}, batch {samples}"
        cases[name] = towers(width), columns(samples, width)
    for width in (64, 512):
        name = f"20 steps of a recurrent layer of {width}, batch 128"
        cases[name] = recurrent(width), columns(128, width)
    return cases


def measure(made: Program, columns: dict[str, Any], backend: str) -> dict[str, Any]:
    """The seconds of steps under each model, in turns."""
    trainers = {
        name: Trainer(
            SoloWorld(),
            made,
            columns,
            Settings(
                epochs=STEPS,
                learning_rate=1e-4,
                target="t",
                execution=name,
                threads=THREADS,
                backend=backend,
            ),
        )
        for name in EXECUTIONS
    }
    taken: dict[str, list[float]] = {name: [] for name in trainers}
    batch = trainers["sequential"].order.at(0)
    for trainer in trainers.values():
        for _ in range(2):
            trainer.step(batch, 1e-4)
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(taken["sequential"]) < 5:
        for name, trainer in trainers.items():
            start = time.perf_counter()
            trainer.step(batch, 1e-4)
            taken[name].append(time.perf_counter() - start)
    if len({trainer.weights.digest for trainer in trainers.values()}) > 1:
        raise AssertionError("the execution models give different bits")
    for trainer in trainers.values():
        trainer.evaluator.close()
    return taken


def main(backend: str = "numpy", text: str = "") -> None:
    """Print a table."""
    print(f"| `{backend}`, float32 | sequential | levels | dataflow |")
    print("|---|---|---|---|")
    for case, (made, columns) in _cases().items():
        if text in case:
            with threadpool_limits(1):
                taken = measure(made, columns, backend)
            one = statistics.median(taken["sequential"])
            gains = []
            for name in ("levels", "dataflow"):
                pairs = zip(taken["sequential"], taken[name], strict=True)
                gains.append(f"× {statistics.median(a / b for a, b in pairs):.2f}")
            print(
                f"| {case} | {1e3 * one:.2f} ms |", " | ".join(gains), "|", flush=True
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
