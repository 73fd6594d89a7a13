"""W7: what a step of dtrain costs as one size grows, and how straight the line is."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np

from benchmarks.group import Group
from benchmarks.workloads import Case

ROUNDS = 9
SECONDS = 0.1


def scaling(short: bool) -> str:
    """A block of lines for each size that is varied."""
    sweeps = SWEEPS[::4] if short else SWEEPS
    return "\n\n".join("\n".join(_sweep(short, *sweep)) for sweep in sweeps)


def _mlp(samples: int, hidden: int) -> Case:
    return Case("W7", "", "mlp", samples, widths=(64, hidden, hidden, 1))


def _weights(hidden: int) -> int:
    return sum(w.size for w in _mlp(1, hidden).weights().values())


def _same(size: int) -> int:
    return size


Sweep = tuple[str, tuple[int, ...], Callable[[int], Case], Callable[[int], int]]
SWEEPS: list[Sweep] = [
    (
        "nodes, batch 256",
        (100, 200, 400, 800, 1600),
        lambda nodes: Case("W7", "", "wiring", 256, nodes=nodes),
        _same,
    ),
    (
        "samples, R(p, q) in float32",
        (62_500, 125_000, 250_000, 500_000, 1_000_000),
        lambda samples: Case("W7", "", "lecture", samples, rate=0),
        _same,
    ),
    (
        "samples, MLP 64-64-64-1",
        (1024, 2048, 4096, 8192, 16_384),
        lambda samples: _mlp(samples, 64),
        _same,
    ),
    (
        "weights, MLP 64-h-h-1, batch 1024",
        (64, 128, 256, 512, 1024),
        lambda hidden: _mlp(1024, hidden),
        _weights,
    ),
    ("ranks, MLP 64-64-64-1, batch 4096", (1, 2, 4), lambda _: _mlp(4096, 64), _same),
]


def _sweep(
    short: bool,
    title: str,
    sizes: tuple[int, ...],
    case: Callable[[int], Case],
    measure: Callable[[int], int],
) -> Iterator[str]:
    print(f"  {title}", file=sys.stderr)
    sizes = sizes[:2] if short else sizes
    with ExitStack() as stack:
        groups = []
        for size in sizes:
            ranks = size if title.startswith("ranks") else 1
            groups.append(Group("dtrain", ranks, case(size), limit=300))
            stack.callback(groups[-1].kill)
        taken = _in_turns(groups, 2 if short else ROUNDS)
        firsts = [group.first for group in groups]
        peaks = [group.end() for group in groups]
    yield f"{title}:"
    x = [measure(size) for size in sizes]
    for size, step, first, peak in zip(x, taken, firsts, peaks, strict=True):
        yield (
            f"{size:>11,} {step * 1e6:>12,.1f} µs a step {first:>8.3f} s to the first"
            f" {peak / 1e6:>8.0f} MB"
        )
    if title.startswith("ranks"):
        return
    for what, seconds in (("a step", taken), ("the first step", firsts)):
        start, slope, residual = line(x, seconds)
        yield (
            f"{what}: {start * 1e6:,.1f} µs + {slope * 1e9:,.3f} ns each; at most "
            f"{residual:.0%} off the line"
        )


def _in_turns(groups: list[Group], rounds: int) -> list[float]:
    """The median seconds of a step of each group."""
    steps = [max(1, int(SECONDS / group.run(1))) for group in groups]
    taken = [
        [group.run(count) / count for group, count in zip(groups, steps, strict=True)]
        for _ in range(rounds)
    ]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def line(x: list[int], y: list[float]) -> tuple[float, float, float]:
    """Start and slope of the line with the least relative errors, and the largest.

    >>> line([1, 2, 3], [3.0, 5.0, 7.0])[2] < 1e-12
    True
    """
    values = np.array(y)
    rows = np.stack([np.ones(len(x)), np.array(x, float)], axis=1) / values[:, None]
    (start, slope), *_ = np.linalg.lstsq(rows, np.ones(len(x)))
    residual = np.abs(start + slope * np.array(x) - values) / values
    return float(start), float(slope), float(residual.max())
