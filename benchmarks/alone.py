"""dtrain alone: start-up, memory over many steps, and the cost of a call."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contenders import ONE_THREAD
from benchmarks.duel import Effort
from benchmarks.group import LAUNCHERS, ROOT, Group
from benchmarks.workloads import CASES, Case

Measure = Callable[[], dict[str, Any]]
STEPS = 10_000
RANKS = (1, 2)
WHOLE_PROCESS = "python -m dtrain, whole process"
FIRST_STEP = "python -m dtrain, to the end of its first step"
NUMPY = "python -c 'import numpy', whole process"

STARTUP = "alone: start-up with the lecture's example, N = 1000"
GROWING = next(case for case in CASES if case.workload == "W3")
GROWTH = f"alone: {STEPS:,} steps of {GROWING.name[3:]}"
OVERHEADS = {
    f"alone: calls of {case.name[3:]}": case
    for case in CASES
    if case == GROWING or case.nodes == 200
}


def alone(effort: Effort, *, short: bool) -> dict[str, Measure]:
    """How to make each measurement; the results have the shape of a case's."""
    steps = 100 if short else STEPS
    return {
        STARTUP: partial(startup, effort.rounds),
        GROWTH: partial(growth, GROWING, steps),
        **{
            name: partial(overhead, case, effort.rounds)
            for name, case in OVERHEADS.items()
        },
    }


def startup(rounds: int) -> dict[str, Any]:
    """Processes from start to end, in turns; and to what dtrain says of itself."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHERS)}
    environment |= ONE_THREAD | {"PYTHONPATH": str(ROOT)}
    taken: dict[str, list[float]] = {FIRST_STEP: [], WHOLE_PROCESS: [], NUMPY: []}

    def run(*words: str) -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, *words], env=environment, check=True)
        return time.perf_counter() - begun

    with tempfile.TemporaryDirectory() as folder:
        report = str(Path(folder, "report.json"))
        words = ["-m", "dtrain", "train", "lecture", "--epochs", "1", "--quiet"]
        for turn in range(1 + rounds):
            whole = run(*words, "--report", report)
            found = json.loads(Path(report).read_text())
            numpy = run("-c", "import numpy")
            if not turn:  # files come from the disk
                continue
            taken[FIRST_STEP].append(found["seconds_total"])
            taken[WHOLE_PROCESS].append(whole)
            taken[NUMPY].append(numpy)
    return {"contenders": {name: {"seconds": times} for name, times in taken.items()}}


def growth(case: Case, steps: int) -> dict[str, Any]:
    """What a process holds before and after many steps, on one rank and on two."""
    contenders: dict[str, Any] = {}
    notes = []
    for ranks in RANKS:
        group = Group("dtrain", ranks, case, limit=300)
        try:
            group.run(100)
            before = group.resident()
            seconds = group.run(steps)
            grown = group.resident() - before
            label = "dtrain" if ranks == 1 else f"dtrain ×{ranks}"
            contenders[label] = {
                "first": group.first,
                "seconds": [seconds / steps],
                "grown": grown,
                "peak": group.end(),
            }
        finally:
            group.kill()
        notes.append(f"{grown / 1e3:,.0f} KB ({label})")
    return {
        "contenders": contenders,
        "note": f"The memory that a process holds grew by {', '.join(notes)}. (A run "
        "keeps its history besides: a record for each step.)",
    }


def overhead(case: Case, rounds: int) -> dict[str, Any]:
    """A plan's calls as the engine runs them, beside the same calls written out."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.overhead", case.name, str(rounds)],
        env=os.environ | ONE_THREAD | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
    )
    found = json.loads(done.stdout)
    results = {
        "contenders": {
            name: {"seconds": times, "calls": found["calls"]}
            for name, times in found["seconds"].items()
        }
    }
    beyond = statistics.median(per_call(results["contenders"]))
    return results | {
        "note": f"{found['calls']:,} calls a step; {beyond * 1e9:.0f} ns each beyond "
        "the same calls written out in one function."
    }


def per_call(contenders: Mapping[str, Any]) -> list[float]:
    """Seconds that the engine adds to each call, in every round."""
    ours, theirs = contenders["run by the engine"], contenders["unrolled"]
    pairs = zip(ours["seconds"], theirs["seconds"], strict=True)
    return [(a - b) / ours["calls"] for a, b in pairs]
