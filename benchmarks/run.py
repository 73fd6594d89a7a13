"""Run the workloads: ``python -m benchmarks.run [WORKLOAD ...] [--short]``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.alone import alone
from benchmarks.duel import FULL, SHORT, Effort, duel
from benchmarks.group import PYTHONS
from benchmarks.lineup import COMPILED, lineup, note
from benchmarks.machine import machine
from benchmarks.report import markdown
from benchmarks.scaling import scaling
from benchmarks.workloads import CASES, Case, short

FOLDER = Path(__file__).parent
WORKLOADS = ("W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8", "alone")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and unless it is a short run keep the results."""
    options = _options(arguments)
    wanted = options.workloads or list(WORKLOADS)
    effort = SHORT if options.short else FULL
    effort = replace(effort, limit=options.limit or effort.limit)
    file = options.results / "results.json"
    results: dict[str, Any] = {"machine": machine(), "cases": {}, "sweeps": {}}
    if file.exists() and not options.short:  # what is not measured now is kept
        kept = json.loads(file.read_text())
        if kept["machine"] == results["machine"]:
            results = kept

    def keep() -> None:
        if not options.short:
            file.write_text(json.dumps(results, indent=1) + "\n")
            (options.results / "results.md").write_text(markdown(results))

    for case, contenders in _chosen(wanted, options.only, short_run=options.short):
        about = _about(case.name, effort)
        found = duel(case, contenders, effort)
        results["cases"][case.name] = about | {"contenders": found, "note": note(case)}
        keep()
    if "W7" in wanted and not options.only:
        about = _about("W7", effort)
        for title, points in scaling(short=options.short).items():
            results["sweeps"][title] = about | {"points": points}
        keep()
    if "alone" in wanted and not options.only:
        for name, measure in alone(effort, short=options.short).items():
            about = _about(name, effort)
            results["cases"][name] = about | measure()
            keep()
    print(markdown(results, targets=not options.short))


def _chosen(
    wanted: Sequence[str], only: Sequence[str] | None, *, short_run: bool
) -> Iterator[tuple[Case, list[tuple[str, int]]]]:
    """The cases to run, in small if it is a short run, with their contenders."""
    seen: set[tuple[object, ...]] = set()

    def takes_part(name: str, ranks: int, case: Case) -> bool:
        """In a short run all run each model once; what compiles is slow enough so."""
        kind: tuple[object, ...] = (name, ranks, case.model, case.mpi)
        if name not in COMPILED:
            kind += (case.dtype, case.activation)
        again = short_run and name != "dtrain" and kind in seen
        seen.add(kind)
        return not again and (not only or name in only)

    for case in CASES:
        small = short(case) if short_run else case
        if small is None or case.workload not in wanted or not PYTHONS[case.mpi]:
            continue
        contenders = [one for one in lineup(case) if takes_part(*one, small)]
        if contenders:
            yield small, contenders


def _about(name: str, effort: Effort) -> dict[str, Any]:
    print(name, file=sys.stderr)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load": os.getloadavg()[0],
        "rounds": effort.rounds,
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measure dtrain beside its peers."
    )
    parser.add_argument(
        "workloads",
        nargs="*",
        metavar="WORKLOAD",
        help="W1 to W8 or alone; all by default",
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
    # As an exception, so that whoever is ended ends the contenders, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    main()
