"""What the engine adds to NumPy's own calls: ``python -m benchmarks.overhead CASE``.

A plan's calls are run as the engine runs them, and as one generated function that calls
the same functions on the same arrays, line by line, as if written by hand. They
alternate in one process; printed is JSON: the number of calls, and the seconds of each
way in every round, those of a whole step of the trainer too.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.contenders import pin
from benchmarks.contenders.dtrain_trainer import Contender
from benchmarks.workloads import CASES, Case
from dtrain.engine.execution.executor import execute
from dtrain.engine.execution.pool import Pool

ROUNDS = 51
SECONDS = 0.03


def unrolled(calls: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]]) -> Any:
    """One function that makes all calls, each on a line of its own."""
    names: dict[int, str] = {}
    values: dict[str, Any] = {}

    def name(value: Any) -> str:
        values[names.setdefault(id(value), f"v{len(names)}")] = value
        return names[id(value)]

    lines = []
    for function, args in calls:
        keywords: dict[str, Any] = {}
        if isinstance(function, partial):
            args, keywords = (*function.args, *args), function.keywords
            function = function.func
        words = [name(arg) for arg in args]
        words += [f"{key}={name(value)}" for key, value in keywords.items()]
        lines.append(f"    {name(function)}({', '.join(words)})\n")
    # Defaults are local variables, which Python finds fastest.
    header = "def run(" + ", ".join(f"{key}={key}" for key in values) + "):\n"
    space = dict(values)
    exec(header + "".join(lines), space)  # noqa: S102  (the text is made above)
    return space["run"]


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """Time a case's calls both ways, and its steps."""
    contender = Contender(case, 0, 1, "")
    contender.run(2)
    trainer = contender.trainer
    engine = trainer.evaluator.engine
    phases = [
        phase
        for part in trainer.evaluator.shard.blocks(contender.batch)
        for phase in engine._stack(trainer.weights, part).bound.phases
    ]
    calls = [call for phase in phases for task in phase.tasks for call in task]
    ways: dict[str, Callable[[], object]] = {
        "run by the engine": partial(execute, phases, Pool(1)),
        "unrolled": unrolled(calls),
        "a whole step": partial(contender.run, 1),
    }
    times = {name: max(1, int(SECONDS / seconds(way, 1))) for name, way in ways.items()}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            taken[name].append(seconds(way, times[name]))
    return {"calls": len(calls), "seconds": taken}


def seconds(call: Callable[[], object], times: int) -> float:
    """Time one call, the mean of several."""
    call()
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def main(name: str, rounds: str) -> None:
    """Measure the case of a name."""
    case = next(case for case in CASES if case.name == name)
    pin(case, "dtrain", 0, 1)
    json.dump(measure(case, int(rounds)), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
