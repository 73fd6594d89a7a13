"""The sum over paths beside back-propagation: exponential against linear.

On a ladder, two values that both go into both of the next, every rung doubles the
paths and adds the same few nodes. Times are from the Python function to the derivative.
Run by hand: ``python -m benchmarks.paths``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from dtrain import loss_and_gradient, program, weight
from dtrain.gradient.paths import Paths, SumOverPaths
from dtrain.tracing.trace import Program

RUNGS = (2, 4, 6, 8, 10, 12, 14, 100, 1000)
_VISITED = 1 << 14  # more paths than this are counted only
_POINT = {"w": 0.5, "x": 0.1}


def ladder(rungs: int) -> Program:
    """A program of 2ⁿ paths from its weight to its output, and about 4n nodes."""

    @program
    def climb(x: float) -> float:
        a, b = weight("w") * x, x
        for _ in range(rungs):
            a, b = np.tanh(a + b), np.sin(a - b)
        return a + b

    return climb


def compared(rungs: Sequence[int] = RUNGS) -> list[str]:
    """A row of a table for each length of the ladder."""
    rows = [
        "| rungs | nodes | paths | sum over paths | back-propagation |",
        "|---|---|---|---|---|",
    ]
    for n in rungs:
        climb = ladder(n)
        graph = climb.trace()
        count = Paths(graph).count(graph.weights["w"])
        back, slow = _seconds(lambda climb=climb: _computed(climb)), "refused"
        if count <= _VISITED:
            slow = f"{1e3 * _seconds(lambda climb=climb: _defined(climb)):,.1f} ms"
            np.testing.assert_allclose(_defined(climb), _computed(climb), rtol=1e-12)
        paths = f"{count:,}" if n < 40 else f"2^{n}"
        rows.append(
            f"| {n} | {len(graph.nodes):,} | {paths} | {slow} | {1e3 * back:,.1f} ms |"
        )
    return rows


def _defined(climb: Program) -> float:
    graph = climb.trace()
    derivative = SumOverPaths(graph, _POINT).derivative(graph.weights["w"])
    return float(derivative)


def _computed(climb: Program) -> float:
    weights, columns = {"w": _POINT["w"]}, [np.array([_POINT["x"]])]
    _, gradient = loss_and_gradient(climb, weights, columns, loss="mean")
    return float(gradient["w"])


def _seconds(call: Callable[[], float], rounds: int = 3) -> float:
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times)


if __name__ == "__main__":
    print("\n".join(compared()))
