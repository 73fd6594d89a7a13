"""Predict steps on many ranks, or hold predictions against measurements here."""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.simulate.machine import CLUSTER, Machine
from benchmarks.simulate.model import Job, bound, step

RANKS = [4**k for k in range(9)]
MEASURED = (2, 4, 8)
SUMS = (("shared memory", "shared"), ("messages", "messages"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what was asked for."""
    options = _options(arguments)
    if options.measure:
        found = measured()
        options.measure.write_text(json.dumps(found, indent=1) + "\n")
        print("\n".join(compared(found)))
        return
    machine = Machine.load(options.machine) if options.machine else CLUSTER
    if options.plot:
        from benchmarks.simulate.plot import plot

        plot(machine, options.per_host, options.compute / 1e3, options.plot)
        return
    job = Job(1, options.per_host, options.weights, options.compute / 1e3)
    print(f"{machine.name}\n{job.weights:,} weights, {options.compute:g} ms alone\n")
    print("\n".join(table(machine, job, options.ranks or RANKS)))


def table(machine: Machine, job: Job, ranks: Sequence[int]) -> Iterator[str]:
    """Predict a job on each number of ranks; as Markdown."""
    yield (
        "| ranks | hosts | ms a step | efficiency | ms in memory | ms of messages "
        "| bound, ms | bytes a rank sends | messages | partial sums a host |"
    )
    yield "|--:" * 10 + "|"
    for size in ranks:
        one = replace(job, ranks=size)
        paid = step(machine, one)
        yield (
            f"| {size:,} | {one.hosts:,} | {paid.seconds * 1e3:.2f} "
            f"| {job.compute / paid.seconds:.3f} | {paid.inside * 1e3:.2f} "
            f"| {paid.between * 1e3:.2f} | {bound(machine, one) * 1e3:.2f} "
            f"| {paid.sent:,} | {paid.messages} | {paid.sums} |"
        )


def measured() -> dict[str, Any]:
    """Measure the constants on two ranks, and sums and steps on two and more.

    What the memory of all cores can move shows where each has a rank.
    """
    runs, cores = [], os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        for ranks in sorted({*MEASURED, max(cores, 2)}):
            file = Path(folder) / f"{ranks}.json"
            module = [sys.executable, "-m", "benchmarks.simulate.measure", str(file)]
            mpirun = Path(sys.executable).with_name("mpirun")
            subprocess.run([mpirun, "-n", str(ranks), *module], check=True)
            runs.append(json.loads(file.read_text()))
    machine = runs[0].pop("machine")
    machine["memory"] = max(run["memory"] for run in runs if run["ranks"] <= cores)
    return {"machine": machine, "runs": runs}


def compared(found: dict[str, Any]) -> Iterator[str]:
    """Hold predictions against what was measured; as Markdown."""
    machine = Machine(**found["machine"])
    yield machine.name
    yield ""
    yield "| ranks | what | alone, µs | predicted, µs | measured, µs | ratio |"
    yield "|--:|:--|--:|--:|--:|--:|"
    for run in found["runs"]:
        ranks = run["ranks"]
        cases: list[tuple[str, Job, float]] = []
        for kind, key in SUMS:
            for weights, seconds in run[key].items():
                per_host = ranks if key == "shared" else 1
                job = Job(ranks, per_host, int(weights), blocks=ranks)
                cases.append((f"sum of {job.weights:,}, {kind}", job, seconds))
        for weights, alone in run["alone"].items():
            job = Job(ranks, ranks, int(weights), alone)
            what = f"step of an MLP of {job.weights:,}, shared memory"
            cases.append((what, job, run["together"][weights]))
        for what, job, seconds in cases:
            guess = step(machine, job).seconds
            if job.per_host < ranks:  # these hosts share the cores of one
                guess *= max(1.0, ranks / machine.cores)
            yield (
                f"| {ranks} | {what} | {job.compute * 1e6:,.1f} | {guess * 1e6:,.1f} "
                f"| {seconds * 1e6:,.1f} | {guess / seconds:.2f} |"
            )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    add = parser.add_argument
    add("ranks", nargs="*", type=int, help="how many ranks; else 1 to 65,536")
    add("--per-host", type=int, default=64, metavar="R", help="ranks on each host")
    add("--weights", type=int, default=10**6, metavar="N", help="of the model")
    add("--compute", type=float, default=10.0, metavar="MS", help="of a rank alone")
    add("--machine", type=Path, metavar="FILE", help="what --measure has written")
    add("--measure", type=Path, metavar="FILE", help="measure this machine")
    add("--plot", type=Path, metavar="FILE", help="draw efficiency against ranks")
    options = parser.parse_args(arguments)
    if min(options.per_host, options.weights, *(options.ranks or [1])) < 1:
        parser.error("ranks, ranks on a host and weights are 1 or more")
    if not (math.isfinite(options.compute) and options.compute > 0):
        parser.error("--compute is milliseconds, more than 0")
    return options


if __name__ == "__main__":
    main()
