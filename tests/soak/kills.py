"""Kill random ranks at random moments of many runs: each ends, with the same bits.

    python -m tests.soak.kills --count 500 --seed 1

Each run trains on 2 to 6 ranks under ``mpirun --with-ft ulfm`` while one or several of
them are killed: in a phase of a step, while a checkpoint is written, in an evaluation,
or while the others recover from the one before. Sums are short or long, and ranks take
themselves for those of one host or of several. Printed are the runs that did not end as
they should, and the time from a kill to the next step that the others finish.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.kit.faults import Fault
from tests.mpirun import mpirun
from tests.soak.victim import FOLDER, HOSTS

ULFM = ("--with-ft", "ulfm")
STEPS, EVERY = 120, 7  # of a run, and from checkpoint to checkpoint
# A run takes about two seconds; one that hangs tells where, before it is ended.
LIKE = ["--epochs", str(STEPS // 12), "--quiet", "--timeout", "20"]
TRAIN = ["mlp", *LIKE]
# With messages of 16 KB and more, for which MPI libraries have another protocol.
WIDE = ["tests.soak.victim:wide", "digits", "--loss", "cross_entropy", *LIKE]
WIDE += ["--batch", "128", "--learning-rate", "0.05"]
LIMIT = 60.0  # seconds
PHASES = ("step", "compute", "sum", "barrier", "apply")  # each begins once a step
LATER = ("agree", "shrink", "catch up", "swap")  # begin while others recover


@dataclass(frozen=True)
class Case:
    """One run: how many ranks, and which are killed when."""

    ranks: int
    faults: tuple[Fault, ...]
    checkpoint: bool
    wide: bool
    hosts: int


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        wrong: why it is not as it should be, empty if it is.
        killed: how many ranks have been killed.
        seconds: from each kill to the next finished step, beyond a usual step.

    """

    wrong: str = ""
    killed: int = 0
    seconds: list[float] = field(default_factory=list)


def drawn(seed: Sequence[int]) -> Case:
    """Draw a case."""
    draw = np.random.default_rng(seed)
    ranks = int(draw.integers(2, 7))
    lost = int(draw.integers(1, min(ranks, 4)))
    checkpoint = bool(draw.random() < 0.5)
    n = int(draw.integers(1, STEPS + 1))
    faults = []
    for rank in draw.permutation(ranks)[:lost]:
        kind = draw.random()
        if kind < 0.6 or (kind < 0.8 and not faults):
            # Of several, some at once, some in other steps.
            n = n if draw.random() < 0.4 else int(draw.integers(1, STEPS + 1))
            at, when = str(draw.choice(PHASES)), n
        elif kind < 0.8:
            at, when = str(draw.choice(LATER)), 1 + int(draw.integers(3))
        elif kind < 0.9 and checkpoint:
            at, when = "checkpoint", 1 + int(draw.integers(STEPS // EVERY))
            rank = 0  # nobody else writes
        else:
            at, when = "evaluate", 1
        after = float(draw.random() / 500) if draw.random() < 0.5 else 0.0
        faults.append(Fault("die", rank=int(rank), at=at, n=when, after=after))
    wide, hosts = bool(draw.random() < 0.5), int(draw.integers(1, 4))
    return Case(ranks, tuple(faults), checkpoint, wide, hosts)


def tried(case: Case) -> Outcome:
    """Run a case, and hold what comes out against the undisturbed run's digest."""
    outcome, digest = Outcome(), undisturbed(wide=case.wide)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = ["-m", "tests.soak.victim", *(WIDE if case.wide else TRAIN)]
        words += ["--report", f"{folder}/report"]
        if case.checkpoint:
            words += ["--checkpoint", f"{folder}/saved", "--save-every", str(EVERY)]
        faults = [
            Fault(f.do, f.rank, f.at, f.n, f"{folder}/{i}.died", f.after)
            for i, f in enumerate(case.faults)
        ]
        try:
            run = mpirun(
                case.ranks,
                words,
                options=ULFM,
                faults=faults,
                timeout=LIMIT,
                env={FOLDER: name, HOSTS: str(case.hosts)},
            )
        except pytest.fail.Exception as error:
            outcome.wrong = str(error)
            return outcome
        died = sorted(float(path.read_text()) for path in folder.glob("*.died"))
        outcome.killed = len(died)
        if run.returncode or not (folder / "report").exists():
            outcome.wrong = f"exit code {run.returncode}\n{run.stderr}"
            return outcome
        report = json.loads((folder / "report").read_text())
        steps = [json.loads(path.read_text()) for path in folder.glob("*.steps")]
    outcome.seconds = delays(died, steps)
    found = (report["weights_sha256"], report["steps"])
    if found != (digest, STEPS):
        outcome.wrong = f"{found} instead of {(digest, STEPS)}\n{run.stderr}"
    in_time = sum(when < max(t for t, _ in one) for when in died for one in steps[:1])
    if not in_time <= report["recovered_failures"] <= len(died):
        failures = report["recovered_failures"]
        outcome.wrong = f"{failures} failures, {len(died)} kills\n{run.stderr}"
    return outcome


def delays(
    died: Sequence[float], steps: Sequence[Sequence[tuple[float, int]]]
) -> list[float]:
    """Give the seconds from each kill to a step of fewer ranks, beyond a usual step."""
    found = []
    for when in died:
        for one in steps:  # of the ranks that lived to the end
            usual = statistics.median(b[0] - a[0] for a, b in pairwise(one))
            before = [size for t, size in one if t < when]
            after = [t for t, size in one if t > when and size < min(before, default=9)]
            if after:
                found.append(after[0] - when - usual)
                break
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Run many cases; return how many were not as they should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="to begin with")
    options = parser.parse_args(words)
    wrong, killed, seconds = 0, 0, []
    for number in range(options.first, options.first + options.count):
        case = drawn([options.seed, number])
        outcome = tried(case)
        killed += outcome.killed
        seconds += outcome.seconds
        if outcome.wrong:
            wrong += 1
            print(f"run {number}: {case}\n{outcome.wrong}", flush=True)
        runs = number + 1 - options.first
        if runs % 10 == 0 or runs == options.count:
            times = sorted(seconds) or [0.0]
            print(
                f"{runs} runs, {killed} kills, {wrong} wrong; from a kill to the "
                f"next step, beyond a usual one: median "
                f"{1000 * statistics.median(times):.1f} ms, 90 % "
                f"{1000 * times[int(0.9 * (len(times) - 1))]:.1f} ms, worst "
                f"{1000 * times[-1]:.1f} ms ({len(seconds)} measured)",
                flush=True,
            )
    return wrong


@cache
def undisturbed(*, wide: bool = False) -> str:
    """Train on one rank; give the digest."""
    train = WIDE if wide else TRAIN
    with tempfile.TemporaryDirectory() as name:
        run = mpirun(1, ["-m", "dtrain", *train, "--report", f"{name}/report"])
        assert run.returncode == 0, run.stderr
        digest: str = json.loads(Path(name, "report").read_text())["weights_sha256"]
    return digest


if __name__ == "__main__":
    sys.exit(min(main(), 1))
