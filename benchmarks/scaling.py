"""W7: what a step of dtrain costs as one size grows, and how straight the line is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.group import Group
from benchmarks.workloads import Case

ROUNDS = 9
SECONDS = 0.1


@dataclass(frozen=True)
class Sweep:
    """One size that is varied.

    Attributes:
        title: what is varied, and in which case.
        sizes: its values.
        case: the case of a value.
        measure: the size as the table gives it.
        ranks: how many ranks a value means.
    """

    title: str
    sizes: tuple[int, ...]
    case: Callable[[int], Case]
    measure: Callable[[int], int] = lambda size: size
    ranks: Callable[[int], int] = lambda _: 1


def _mlp(samples: int, hidden: int) -> Case:
    return Case("W7", "", "mlp", samples, widths=(64, hidden, hidden, 1), cores=2)


def _weights(hidden: int) -> int:
    return sum(w.size for w in _mlp(1, hidden).weights().values())


SWEEPS = [
    Sweep(
        "nodes, graph of scalars, batch 256",
        (100, 200, 400, 800, 1600),
        lambda nodes: Case("W7", "", "wiring", 256, nodes=nodes),
    ),
    Sweep(
        "samples, R(p, q) in float32",
        (62_500, 125_000, 250_000, 500_000, 1_000_000),
        lambda samples: Case("W7", "", "lecture", samples, rate=0),
    ),
    Sweep(
        "samples, MLP 64-64-64-1",
        (1024, 2048, 4096, 8192, 16_384),
        lambda samples: _mlp(samples, 64),
    ),
    Sweep(
        "weights, MLP 64-h-h-1, batch 1024",
        (64, 128, 256, 512, 1024),
        lambda hidden: _mlp(1024, hidden),
        _weights,
    ),
    Sweep(
        "ranks on two cores, MLP 64-64-64-1, batch 4096",
        (1, 2, 4),
        lambda _: _mlp(4096, 64),
        ranks=lambda size: size,
    ),
]


def scaling(*, short: bool) -> dict[str, list[dict[str, Any]]]:
    """The points of each sweep: size, ranks, seconds of steps, first step, memory."""
    sweeps = (SWEEPS[0], SWEEPS[-1]) if short else SWEEPS
    return {f"W7 {sweep.title}": _points(sweep, short) for sweep in sweeps}


def _points(sweep: Sweep, short: bool) -> list[dict[str, Any]]:
    print(f"  {sweep.title}", file=sys.stderr)
    sizes = sweep.sizes[:2] if short else sweep.sizes
    with ExitStack() as stack:
        groups = []
        for size in sizes:
            group = Group("dtrain", sweep.ranks(size), sweep.case(size), limit=300)
            groups.append(group)
            stack.callback(group.kill)
        taken = _in_turns(groups, 2 if short else ROUNDS)
        return [
            {
                "size": sweep.measure(size),
                "ranks": sweep.ranks(size),
                "seconds": seconds,
                "first": group.first,
                "peak": group.end(),
            }
            for size, seconds, group in zip(sizes, taken, groups, strict=True)
        ]


def _in_turns(groups: list[Group], rounds: int) -> list[tuple[float, ...]]:
    """The seconds of a step of each group, in every round."""
    steps = [max(1, int(SECONDS / group.run(1))) for group in groups]
    taken = [
        [group.run(count) / count for group, count in zip(groups, steps, strict=True)]
        for _ in range(rounds)
    ]
    return list(zip(*taken, strict=True))


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, list[float]]:
    """Start and slope of the line with the least relative errors, and those errors.

    >>> start, slope, errors = line([1, 2, 3], [3.0, 5.0, 7.0])
    >>> round(start, 6), round(slope, 6), max(map(abs, errors)) < 1e-12
    (1.0, 2.0, True)
    """
    values = np.array(y)
    rows = np.stack([np.ones(len(x)), np.array(x, float)], axis=1) / values[:, None]
    (start, slope), *_ = np.linalg.lstsq(rows, np.ones(len(x)))
    errors = values / (start + slope * np.array(x)) - 1
    return float(start), float(slope), errors.tolist()
