"""What Python costs beside NumPy: ``python -m benchmarks.overhead``.

A step runs prebound calls of NumPy. Their loop is timed as it is, and with a function
in the place of each that does next to nothing with as many arguments; the difference is
NumPy's own time, and what a step takes beyond it is overhead: the loop, fetching the
batch, the sums, the optimizer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.contenders.dtrain_trainer import Contender
from benchmarks.workloads import CASES
from dtrain.engine.execution import sequential

ROUNDS, SECONDS = 21, 0.02


def main() -> None:
    """Print a line for each case that runs few samples."""
    print("| case | calls | a step | in NumPy | loop, a call | overhead, a call |")
    print("|---|---|---|---|---|---|")
    for case in CASES:
        if case.workload not in ("W3", "W4") or case.samples > 256:
            continue
        contender = Contender(replace(case, rate=1e-6), 0, 1, "")  # none diverges
        contender.run(2)
        engine, weights = contender.trainer.engine, contender.trainer.weights
        (part,) = contender.trainer.shard.blocks(contender.batch)
        calls = engine._stack(weights, part).bound.calls
        idle = [(slice, args[:3]) for _, args in calls]
        with np.errstate(all="ignore"):
            step, loop, bare = _turns(
                partial(contender.run, 1),
                partial(sequential, calls),
                partial(sequential, idle),
            )
        numpy, count = loop - bare, len(calls)
        print(
            f"| {case.name} | {count} | {1e6 * np.median(step):.0f} µs "
            f"| {1e6 * np.median(numpy):.0f} µs | {1e9 * np.median(bare) / count:.0f} "
            f"ns | {1e9 * np.median(step - numpy) / count:.0f} ns |"
        )


def _turns(*functions: Callable[[], None]) -> NDArray[np.float64]:
    """The seconds of one call of each, in every turn."""
    turns = np.empty((len(functions), ROUNDS))
    for turn in range(ROUNDS):
        for i, function in enumerate(functions):
            begun, count, seconds = time.perf_counter(), 0, 0.0
            while not count or seconds < SECONDS:
                function()
                count += 1
                seconds = time.perf_counter() - begun
            turns[i, turn] = seconds / count
    return turns


if __name__ == "__main__":
    main()
