"""The results as text: the targets first, then a table for each workload."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.scaling import line
from benchmarks.targets import TARGETS, paired
from benchmarks.workloads import CASES

INTRODUCTION = """\
# Benchmarks

How fast dtrain is beside PyTorch, JAX and autograd on the same cores. `scripts/bench`
measures and writes this page and `results.json`; do not edit it. What was tried where
a target is missed is in [docs/performance.md](../docs/performance.md).

- Each contender is a process of its own (or one for each rank: *×2* is two ranks), on
  one core and with one thread a rank. Ranks that use gloo, which has threads beside
  the one that computes, share their cores, because they are faster so.
- Before anything is timed, all contenders must have come to the same weights (or
  gradient, or sum); *differs* is how far from the first's, over the largest change.
- Then they take turns, a quarter of a second each. A *ratio* is a contender's time over
  the first's in the same turn (median, least, quartiles): above 1, dtrain is faster.
- A *step* is a full one of gradient descent on one batch in memory, from a library's
  usual loop: one call a step, since a trainer looks at each step's loss. In W1 it is
  the loss and the gradient.
- *First step* runs from the end of imports to the end of the first step, in a fresh
  process and on its one core: tracing and planning, or compiling. *> 300 s*: given up
  after so long.
- *Memory* is the peak of the largest process.
- *Load* is the machine's before a case began: where it is not near 0, others were at
  work on the same cores, ratios are rough, and those of two ranks say little.
"""
COLUMNS = (
    "",
    "time",
    "ratio",
    "least",
    "quartiles",
    "first step",
    "memory",
    "differs",
)
PEERS = """\
## How the peers are run

Each peer's program is written as its users would write it, in its fastest form of
those tried here that keeps IEEE arithmetic.

- *torch eager*: modules, `mse_loss`, `SGD(fused=True)` (no slower than `foreach`),
  `zero_grad(set_to_none=True)`. Its CPU wheel multiplies matrices with Intel's MKL,
  which on an AMD processor ran at half the rate of NumPy's OpenBLAS (110 and 234
  GFLOP/s, 1024³, one AVX-512 core) or of oneDNN, which PyTorch does not use for
  float32 in training. That is left as its users have it.
- *torch.compile*: a compiled loss, `.backward()`, optimizer. *torch.compile step*:
  gradient (`torch.func`) and update inside one compiled function, with
  `cpp_wrapper`, which takes a twentieth off a small MLP's step. No gain from
  `max_autotune`, contraction of multiply and add, or unsafe mathematics; 256-bit
  vectors are slower. Leaving out guards (`skip_guard_eval_unsafe`) gains little, on
  the smallest graphs.
- *torch DDP*: gradients as views of the buckets, static graph; other bucket sizes, and
  a compiled module but for W2 (a twentieth), gain nothing. *torch all_reduce* is mostly
  faster: by hand, a compiled gradient as one flat vector, one `all_reduce` over gloo,
  one update.
- *jax.jit*: one compiled step with donated weights; `jax.nn.relu`, as `jnp.maximum` is
  slower. Storing weights transposed, `xla_cpu_enable_fast_math`, wider vectors,
  Eigen's threads and the older runtime change nothing. In W1, XLA calls the sine and
  cosine of one float32 at a time (5 ns each), which keeps its fused loop scalar.
- *jax.jit ×2*: two processes, a mesh over gloo.
- *MPI_Allreduce* is called in place; with more ranks than cores, Open MPI is told to
  yield when idle. Other algorithms and components of both libraries were no faster than
  those that they choose. dtrain's sum is made and read where its trainer does it, in
  memory that the ranks share; *copied* has its records in each rank's own.
- Variables that choose a BLAS kernel or a number of threads are unset for all alike;
  the kernel that NumPy's BLAS has chosen is named above.
"""


def markdown(results: Mapping[str, Any], *, targets: bool = True) -> str:
    """The whole page; a short run's times are held against no targets."""
    cases = sorted(results["cases"].items(), key=lambda item: natural(item[0]))
    lines = [INTRODUCTION, *_machine(results["machine"])]
    if targets:
        lines += _targets(results["cases"])
    sums = {case.name: case for case in CASES if case.workload == "W6"}
    for name, case in cases:
        if name not in sums and not name.startswith("alone"):
            lines += _case(name, case)
    lines += _sums({name: case for name, case in cases if name in sums})
    for name, sweep in results["sweeps"].items():
        lines += _sweep(name, sweep)
    for name, case in cases:
        if name.startswith("alone"):
            lines += _case(name, case)
    return "\n".join([*lines, PEERS])


def natural(name: str) -> list[Any]:
    """A key that sorts numbers in names by value.

    >>> sorted(["a 10", "a 9", "b"], key=natural)
    ['a 9', 'a 10', 'b']
    """
    parts = re.split(r"(\d+)", name.replace(",", ""))
    return [int(part) if part.isdigit() else part for part in parts]


def _machine(machine: Mapping[str, Any]) -> Iterator[str]:
    packages = ", ".join(f"{k} {v}" for k, v in machine["packages"].items())
    yield f"{machine['processor']}, {machine['cores']} cores, {machine['features']}, "
    yield f"NumPy's BLAS {machine['blas']}; {machine['system']}, {machine['libc']}, "
    yield f"Python {machine['python']}, {packages}."
    yield ""


def _targets(cases: Mapping[str, Any]) -> Iterator[str]:
    rows = []
    for target in TARGETS:
        case = cases.get(target.case)
        if case is None:
            continue
        value = target.measured(case["contenders"])
        bound = f"{'≤' if target.most else '≥'} {target.bound:g}{target.unit}"
        if value is None:
            text, verdict = "", "not measured"
        else:
            text = f"{value:.2f}{target.unit}"
            verdict = "met" if target.met(value) else "**missed**"
        rows.append(
            f"| {target.case} | {target.claim} | {bound} | {text} | {verdict} |"
        )
    met = sum(row.endswith("| met |") for row in rows)
    yield "## Targets"
    yield ""
    yield f"{met} of {len(rows)} are met. Medians; without a unit, the ratio of that"
    yield "contender's time to dtrain's, or of what is named."
    yield ""
    yield "| case | against | target | measured | |"
    yield "|---|---|---|---|---|"
    yield from rows
    yield ""


def _case(name: str, case: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    yield _about(case)
    yield ""
    rows = list(_rows(case["contenders"]))
    shown = [k for k in range(len(COLUMNS)) if any(row[k] for row in rows)]
    yield f"| {' | '.join(COLUMNS[k] for k in shown)} |"
    yield "|---" * len(shown) + "|"
    for row in rows:
        yield f"| {' | '.join(row[k] for k in shown)} |"
    yield ""
    if case.get("note"):
        yield case["note"]
        yield ""


def _rows(contenders: Mapping[str, Any]) -> Iterator[list[str]]:
    """A row of the table for each contender, cell by cell."""
    ours = next(iter(contenders))
    for label, found in contenders.items():
        if "failed" in found:
            yield [label, "", "", "", "", found["failed"].splitlines()[-1], "", ""]
            continue
        yield [
            label,
            duration(statistics.median(found["seconds"])),
            *_ratios(paired(contenders, label, ours)),
            duration(found["first"]) if "first" in found else "",
            f"{found['peak'] / 1e6:.0f} MB" if "peak" in found else "",
            f"{found['error']:.0e}" if found.get("error") else "",
        ]


def _about(case: Mapping[str, Any]) -> str:
    return (
        f"{case['date']}, {case['rounds']} rounds, load before it {case['load']:.1f}."
    )


def _ratios(ratios: Sequence[float]) -> list[str]:
    """Median, least and quartiles; the last need two rounds."""
    median = f"{statistics.median(ratios):.2f}"
    if len(ratios) < 2:
        return [median, "", ""]
    low, _, high = statistics.quantiles(ratios, n=4)
    return [median, f"{min(ratios):.2f}", f"{low:.2f} to {high:.2f}"]


def _sums(cases: Mapping[str, Any]) -> Iterator[str]:
    """All sums in one table: dtrain's time, and what others take in its place."""
    if not cases:
        return
    yield "## W6 sums over ranks"
    yield ""
    yield "The same sum on every rank of one host; in brackets the ratio to dtrain's"
    yield "time in the same turn."
    yield ""
    labels = list(next(iter(cases.values()))["contenders"])
    titles = [label.rsplit(" ×", 1)[0] for label in labels]
    yield f"| | {' | '.join(titles)} | load |"
    yield "|---" * (2 + len(titles)) + "|"
    for name, case in cases.items():
        contenders = case["contenders"]
        ours = next(iter(contenders))
        cells = []
        for label, found in contenders.items():
            if "failed" in found:
                cells.append(found["failed"].splitlines()[-1])
                continue
            ratio = statistics.median(paired(contenders, label, ours))
            text = duration(statistics.median(found["seconds"]))
            cells.append(text if label == ours else f"{text} ({ratio:.2f})")
        title = name.removeprefix("W6 sum of ")
        yield f"| {title} | {' | '.join(cells)} | {case['load']:.1f} |"
    yield ""


def _sweep(name: str, sweep: Mapping[str, Any]) -> Iterator[str]:
    """One size that grows, and how far from a straight line its cost is."""
    points = sweep["points"]
    sizes = [point["size"] for point in points]
    steps = [statistics.median(point["seconds"]) for point in points]
    firsts = [point["first"] for point in points]
    ranks = len({point["ranks"] for point in points}) > 1
    yield f"## {name}"
    yield ""
    yield _about(sweep)
    yield ""
    if ranks or len(points) < 3:
        yield "| | step | first step | memory |"
        yield "|---|---|---|---|"
        for point, step in zip(points, steps, strict=True):
            yield f"| {point['size']:,} | {duration(step)} | {_rest(point)} |"
        yield ""
        return
    start, slope, errors = line(sizes, steps)
    yield "| | step | off the line | first step | memory |"
    yield "|---|---|---|---|---|"
    for point, step, error in zip(points, steps, errors, strict=True):
        cells = f"{point['size']:,} | {duration(step)} | {error:+.0%}"
        yield f"| {cells} | {_rest(point)} |"
    yield ""
    yield f"A step: {duration(start)} + {duration(slope)} each."
    start, slope, errors = line(sizes, firsts)
    yield f"The first step: {duration(start)} + {duration(slope)} each, at most"
    yield f"{max(map(abs, errors)):.0%} off the line."
    yield ""


def _rest(point: Mapping[str, Any]) -> str:
    return f"{duration(point['first'])} | {point['peak'] / 1e6:.0f} MB"


def duration(seconds: float) -> str:
    """A time with a fitting unit.

    >>> duration(0.0123), duration(-2e-6)
    ('12.3 ms', '-2 µs')
    """
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if abs(seconds) * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
