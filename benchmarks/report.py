"""The results as text: a table for each workload, and the targets beside them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.targets import TARGETS, paired

INTRODUCTION = """\
# Benchmarks

Written by `scripts/bench`; do not edit. Each contender is a process of
its own, on one core and with one thread (two ranks: one core each). All have computed
the same weights (or gradient) before anything is timed; *differs* is how far from
dtrain's, over the largest change. Then they take turns, a quarter of a second each; a
ratio is a contender's time over dtrain's in the same turn: above 1, dtrain is faster.
A step is a full one of gradient descent on one batch in memory, from a library's usual
loop: one call a step, since a trainer looks at each step's loss.
*First step* runs from the end of imports to the end of the first step, in a fresh
process: tracing and planning, or compiling. *Memory* is the process's peak. *Load* is
the machine's before a case began: where it is not near 0, others were at work on the
same cores, ratios are rough, and those of two ranks say little.
"""


def markdown(results: Mapping[str, Any], *, targets: bool = True) -> str:
    """The whole page; a short run's times are held against no targets."""
    return "\n".join(
        [
            INTRODUCTION,
            *_machine(results["machine"]),
            *(_targets(results["cases"]) if targets else ()),
            *(
                line
                for name, case in results["cases"].items()
                for line in _case(name, case)
            ),
            *(
                line
                for name, text in results.get("texts", {}).items()
                for line in (f"## {name}", "", "```text", text.rstrip(), "```", "")
            ),
        ]
    )


def _machine(machine: Mapping[str, Any]) -> Iterator[str]:
    packages = ", ".join(f"{k} {v}" for k, v in machine["packages"].items())
    yield f"{machine['processor']}, {machine['cores']} cores, {machine['features']}, "
    yield f"{machine['blas']}; {machine['system']}, {machine['libc']}, "
    yield f"Python {machine['python']}, {packages}."
    yield ""


def _targets(cases: Mapping[str, Any]) -> Iterator[str]:
    yield "## Targets"
    yield ""
    yield "| case | peer over dtrain | at least | measured | |"
    yield "|---|---|---|---|---|"
    for target in TARGETS:
        case = cases.get(target.case)
        if case is None:
            continue
        ratio = target.measured(case["contenders"])
        if ratio is None:
            text, verdict = "not measured", ""
        else:
            text, verdict = f"{ratio:.2f}", "met" if ratio >= target.least else "missed"
        claim = f"{target.case} | {target.claim} | {target.least:g}"
        yield f"| {claim} | {text} | {verdict} |"
    yield ""


def _case(name: str, case: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    yield f"{case['date']}, {case['rounds']} rounds, load before it {case['load']:.1f}."
    yield ""
    columns = "step", "ratio", "min", "quartiles", "first step", "memory", "differs"
    yield f"| | {' | '.join(columns)} |"
    yield "|---" * (1 + len(columns)) + "|"
    contenders = case["contenders"]
    ours = next(iter(contenders))
    for label, found in contenders.items():
        if "failed" in found:
            yield f"| {label} | | | | | {found['failed'].splitlines()[-1]} | | |"
            continue
        ratios = paired(contenders, label, ours)
        low, _, high = statistics.quantiles(ratios, n=4)
        yield " | ".join(
            [
                f"| {label}",
                duration(statistics.median(found["seconds"])),
                f"{statistics.median(ratios):.2f}",
                f"{min(ratios):.2f}",
                f"{low:.2f} to {high:.2f}",
                duration(found["first"]),
                f"{found['peak'] / 1e6:.0f} MB",
                f"{found['error']:.0e} |" if found.get("error") else "|",
            ]
        )
    yield ""


def duration(seconds: float) -> str:
    """A time with a fitting unit."""
    for unit, factor in (("s", 1), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
