"""Irregular networks as they grow: ``python -m benchmarks.irregular``.

Programs whose graphs Python loops make: from the function to the first step, the time
of every stage for each node of the graph. A line of numbers that does not rise is a
stage whose cost is linear.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dtrain import program, weight
from dtrain.descent.loss_graph import loss_graph
from dtrain.descent.losses import SquareError
from dtrain.engine.collector import paused
from dtrain.engine.execution.executor import execute
from dtrain.engine.execution.models import Model
from dtrain.engine.execution.numpy_backend import BoundPlan
from dtrain.engine.execution.pool import Pool
from dtrain.engine.lowering.lower import plan
from dtrain.gradient.paths import Paths
from dtrain.gradient.vector import Weights
from dtrain.tracing.fingerprint import fingerprint
from dtrain.tracing.trace import Program

SIZES = (2500, 5000, 10_000, 20_000)
BLOCK = 32
ROUNDS = 2


def chain(nodes: int) -> tuple[Program, Mapping[str, Any]]:
    """A deep chain: half as many layers as nodes, of one scalar each."""

    @program
    def chain(x: Any) -> Any:
        for i in range(nodes // 2):
            x = np.sin(weight(f"w{i % 50}") * x)
        return x

    return chain, {}


def wired(nodes: int) -> tuple[Program, Mapping[str, Any]]:
    """A random graph of scalars with skip connections and shared weights."""

    @program
    def wired(x: Any) -> Any:
        rng = random.Random(2)  # noqa: S311  (no secret)
        values = [x[i] for i in range(6)]
        for _ in range(5 * nodes // 9):
            a, b = rng.choice(values[-9:]), rng.choice(values)
            if rng.random() < 0.6:
                a = np.tanh(weight(f"w{rng.randrange(nodes // 8)}") * a)
            else:
                a = np.sin(a * b)
            values.append(a)
        return sum(values[-9:])

    return wired, {"x": 6}


def recurrent(nodes: int) -> tuple[Program, Mapping[str, Any]]:
    """A recurrent network, unrolled: seven nodes for each of the steps."""
    steps = nodes // 7

    @program
    def recurrent(x: Any) -> Any:
        h = weight("h", 8)
        W, U, b = weight("W", (8, 8)), weight("U", (8, 3)), weight("b", 8)
        for t in range(steps):
            h = np.tanh(W @ h + U @ x[t] + b)
        return h

    return recurrent, {"x": (steps, 3)}


def slices(nodes: int) -> tuple[Program, Mapping[str, Any]]:
    """As many slices of one array as a quarter of the nodes, each read by a chain."""
    count = nodes // 4

    @program
    def slices(x: Any) -> Any:
        y = x[0]
        parts = np.tanh(weight("w", count) * x)
        for t in range(count - 1):
            y = np.sin(y + parts[t] * parts[t + 1])
        return y

    return slices, {"x": count}


PROGRAMS = (chain, wired, recurrent, slices)


@paused()
def stages(made: Program, shapes: Mapping[str, Any]) -> tuple[int, dict[str, float]]:
    """The nodes of a program's graph, and the seconds of each stage."""
    taken: dict[str, float] = {}

    def timed(name: str, stage: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = stage()
        taken[name] = time.perf_counter() - start
        return result

    graph = timed("trace", lambda: made.trace(**shapes))
    joined = timed("differentiate", lambda: loss_graph(graph, SquareError()))
    layout = joined.layout("float32")
    weights, slots = Weights(layout), np.zeros(layout.size, np.float32)
    planned = timed(
        "plan",
        lambda: plan(joined.graph, layout, BLOCK, gradients=joined.gradients),
    )
    bound = timed("bind", lambda: BoundPlan(planned, weights.flat, slots))
    with np.errstate(all="ignore"):
        timed("first step", lambda: execute([*bound.once, *bound.phases], Pool(1)))
    timed(
        "bind, dataflow",
        lambda: BoundPlan(planned, weights.flat, slots, Model("dataflow", 2)),
    )
    timed("print", lambda: str(graph))
    timed("fingerprint", lambda: fingerprint(graph))
    timed("count paths", lambda: Paths(graph))
    return len(graph.nodes), taken


def main(*names: str) -> None:
    """Print microseconds a node, for each program, stage and size; the best of some."""
    for made in PROGRAMS:
        if names and made.__name__ not in names:
            continue
        columns = []
        for size in SIZES:
            rounds = [stages(*made(size)) for _ in range(ROUNDS)]
            nodes = rounds[0][0]
            best = {key: min(taken[key] for _, taken in rounds) for key in rounds[0][1]}
            columns.append((nodes, best))
        print(
            f"\n| {made.__name__}, µs a node |",
            *(f" {nodes:,} |" for nodes, _ in columns),
            sep="",
        )
        print("|---" * (len(columns) + 1) + "|")
        for key in columns[0][1]:
            each = (f" {1e6 * best[key] / nodes:.1f} |" for nodes, best in columns)
            print(f"| {key} |", *each, sep="")


if __name__ == "__main__":
    main(*sys.argv[1:])
