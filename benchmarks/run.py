"""Run the workloads: ``python -m benchmarks.run [WORKLOAD ...] [--short]``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.duel import FULL, SHORT, Effort, duel
from benchmarks.machine import machine
from benchmarks.report import markdown
from benchmarks.scaling import scaling
from benchmarks.sums import sums
from benchmarks.workloads import CASES, Case, short

FOLDER = Path(__file__).parent
WORKLOADS = ("W1", "W2", "W3", "W4", "W5", "W6", "W7")

_SOLO = [
    ("dtrain", 1),
    ("torch eager", 1),
    ("torch.compile", 1),
    ("torch.compile step", 1),
    ("jax.jit", 1),
]
CONTENDERS = {
    "W1": [*_SOLO, ("autograd", 1)],
    "W2": [*_SOLO, ("sgemm", 1)],
    "W3": [*_SOLO, ("autograd", 1)],
    "W4": _SOLO,
    "W5": [
        ("dtrain", 2),
        ("dtrain", 1),
        ("torch DDP", 2),
        ("torch eager", 1),
        ("jax.jit", 2),
        ("jax.jit", 1),
    ],
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and unless it is a short run keep the results."""
    options = _options(arguments)
    wanted = options.workloads or list(WORKLOADS)
    effort = SHORT if options.short else FULL
    effort = replace(effort, limit=options.limit or effort.limit)
    file = options.results / "results.json"
    results: dict[str, Any] = {"machine": machine(), "cases": {}, "texts": {}}
    if file.exists():  # of another run: what is not measured now is kept
        kept = json.loads(file.read_text())
        if kept["machine"] == results["machine"]:
            results = kept

    def keep() -> None:
        if not options.short:
            file.write_text(json.dumps(results, indent=1) + "\n")
            (options.results / "results.md").write_text(markdown(results))

    seen: set[str] = set()
    for case in CASES:
        small = short(case) if options.short else case
        if small is None or case.workload not in wanted:
            continue
        # A short run compiles each workload once: a few seconds each.
        again = options.short and case.workload in seen
        seen.add(case.workload)
        contenders = [
            (name, ranks)
            for name, ranks in CONTENDERS[case.workload]
            if not (again and "compile" in name)
            and (not options.only or name in options.only)
        ]
        results["cases"][case.name] = _measured(small, contenders, effort)
        keep()
    for workload, measure in (("W6", sums), ("W7", scaling)):
        if workload in wanted and not options.only:
            print(workload, file=sys.stderr)
            results["texts"][workload] = measure(options.short)
            keep()
    print(markdown(results, targets=not options.short))


def _measured(
    case: Case, contenders: list[tuple[str, int]], effort: Effort
) -> dict[str, Any]:
    print(case.name, file=sys.stderr)
    about = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load": os.getloadavg()[0],
        "rounds": effort.rounds,
    }
    return about | {"contenders": duel(case, contenders, effort)}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measure dtrain beside its peers."
    )
    parser.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD", help="W1 to W7; all by default"
    )
    parser.add_argument(
        "--short",
        action="store_true",
        help="tiny sizes: only check that everything works and agrees",
    )
    parser.add_argument(
        "--only", action="append", metavar="CONTENDER", help="such as --only dtrain"
    )
    parser.add_argument(
        "--limit",
        type=float,
        metavar="SECONDS",
        help=f"for a contender's first step; by default {FULL.limit:g}",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=FOLDER,
        metavar="FOLDER",
        help="where results.md and results.json go",
    )
    options = parser.parse_args(arguments)
    unknown = set(options.workloads) - set(WORKLOADS)
    if unknown:
        parser.error(f"no workload {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    main()
