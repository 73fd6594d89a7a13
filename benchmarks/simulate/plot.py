"""Draw weak-scaling efficiency against the number of ranks."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

from benchmarks.simulate.machine import Machine
from benchmarks.simulate.model import Job, efficiency

WEIGHTS = (10**5, 10**6, 10**7)
RANKS = [2**k for k in range(17)]
DIRECT = 4096  # one stage beyond so many ranks takes longer to prepare than to read
# Text stays text, and the same figures make the same file.
matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "dtrain"}


def plot(machine: Machine, per_host: int, compute: float, file: Path) -> None:
    """Write a plot as SVG: three sizes of a model, with stages and without."""
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for weights, colour in zip(WEIGHTS, ("C0", "C1", "C2"), strict=True):
        for style, hosts, direct, label in (
            ("-", per_host, False, f"{weights:,} weights"),
            (":", 1, True, "all ranks with all, in one stage"),
        ):
            ranks = [size for size in RANKS if not direct or size <= DIRECT]
            found = [
                efficiency(machine, Job(size, hosts, weights, compute, direct=direct))
                for size in ranks
            ]
            named = label if not direct or colour == "C0" else None
            axes.plot(ranks, found, style, color=colour, label=named)
    axes.set_xscale("log", base=2)
    axes.set_xlabel(f"ranks, {per_host} a host")
    axes.set_ylabel("weak-scaling efficiency")
    axes.set_ylim(0, 1.02)
    axes.set_title(f"{compute * 1e3:g} ms of compute a step")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
