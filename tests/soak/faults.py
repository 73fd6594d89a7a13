"""Planned faults, each under every launcher: each job ends as it was promised to.

Under Open MPI both ways: as it is, and where ranks may be lost (``--with-ft ulfm``).

What mpirun returns is the launcher's affair, so a code is looked for in the rank's own,
in what MPI_Abort says, and in mpirun's.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from dtrain.errors import RankLostError
from tests.kit.faults import Fault
from tests.mpirun import CompletedRun, mpirun
from tests.soak.kills import ULFM

LAUNCHERS = {"openmpi": (), "mpich": (), "ulfm": ULFM}
RANKS = 3
TIMEOUT = 3  # seconds, --timeout of all that must run into it
LIMIT = 40  # seconds for a job to end, on a slow machine

SCRIPT = """\
import os, sys
import numpy as np
from dtrain import MPIWorld, program, train, weight

@program
def line(p):
    return weight("slope") * p

world = MPIWorld()
{body}
x = np.linspace(-1, 1, 60)
train(line, {{"p": x, "t": x}}, epochs=5, learning_rate=0.1, timeout=3, world=world)
"""
MODEL = """\
from dtrain import program, weight

@program
def line(p):
    return weight("slope") * p
"""


@dataclass(frozen=True)
class Case:
    """A fault and how the job must end.

    Attributes:
        faults: what goes wrong.
        code: the exit code that is promised; ``None`` for any but 0.
        says: what the ranks say, as regular expressions.
        words: after ``python -m dtrain``; ``{here}`` is a folder with data.csv and
            model.py, ``{small}`` one on a file system of 16 KB.
        body: a user's own script instead: what it does before it trains.
        saved: whether the weights of an undisturbed run must be there.
        survived: whether the others go on where ranks may be lost.
        quick: whether it is tested with every change.

    """

    faults: tuple[Fault, ...] = ()
    code: int | None = None
    says: tuple[str, ...] = ()
    words: str = "mlp --epochs 3 --timeout 3 --save {here}/w"
    body: str | None = None
    saved: bool = False
    survived: bool = False
    quick: bool = False


def one(do: str, at: str, n: int = 1, **more: object) -> tuple[Fault, ...]:
    """Plan one fault; on rank 1 unless it says another."""
    return (Fault(do, at=at, n=n, **more),)  # type: ignore[arg-type]


LINE = "train {here}/model.py:line {here}/data.csv --learning-rate 0.1 --save {here}/w"
KEPT = "mlp --epochs 3 --timeout 3 --checkpoint {here}/c --save-every 3"
TRACEBACK = r":1: Traceback .*\n(.*:1: .*\n)+.*:1: tests.kit.faults.PlantedError: .*\n"
TOLD = r"no progress for 3 s while "
ENOSPC = "No space left on device"
BOTH = (Fault("raise", rank=1, n=5), Fault("raise", rank=2, n=5))

CASES = {
    "raises as the program is loaded": Case(
        one("raise", "program"), 70, ("rank 1 on .*\n(.*\n)*.*PlantedError",)
    ),
    "raises as data is read": Case(one("raise", "read"), 70, ("PlantedError",)),
    "raises as the program is traced": Case(one("raise", "trace"), 70, ("Planted",)),
    "raises as it plans": Case(one("raise", "plan"), 70, (TRACEBACK,)),
    "raises in a step": Case(one("raise", "step", 7), 70, (TRACEBACK,), quick=True),
    "raises in a block": Case(one("raise", "compute", 9), 70, (TRACEBACK,)),
    "raises as it sums": Case(one("raise", "sum", 4), 70, (TRACEBACK,)),
    "rank 0 raises before it steps": Case(
        one("raise", "apply", 4, rank=0), 70, (":0: Traceback",)
    ),
    "rank 0 raises as it saves": Case(one("raise", "save", rank=0), 70, ("Planted",)),
    "raises as it evaluates": Case(one("raise", "evaluate"), 70, (TRACEBACK,)),
    "two raise at once": Case(BOTH, 70, ("Traceback",)),
    "exits with 3": Case(
        one("exit", "step", 5, value=3), 3, (":1: SystemExit: 3",), quick=True
    ),
    "exits with 0": Case(
        one("exit", "step", 5, value=0),
        70,
        (":1: SystemExit: 0",),
        words="mlp --epochs 3 --timeout 20",
    ),
    "is gone in a block": Case(one("_exit", "compute", 5, value=0), survived=True),
    "is gone before MPI, with a code": Case(one("_exit", "start", value=5)),
    "is gone as it sums": Case(one("_exit", "sum", 5, value=1), quick=True),
    "a script exits before it trains": Case(
        body="if world.rank == 1: sys.exit(0)", code=71, says=(f":0: {TOLD}",)
    ),
    "a script is gone before it trains": Case(
        body="if world.rank == 1: os._exit(0)", survived=True
    ),
    "a script raises before it trains": Case(
        body="if world.rank == 1: 1 / 0", code=70, says=(":1: ZeroDivisionError",)
    ),
    "a script that says so exits before it trains": Case(
        body="if world.rank == 1: world.watchdog.limit = 3.0; sys.exit(0)",
        code=71,
        says=(f":1: {TOLD}leaving", f":2: {TOLD}"),
        quick=True,
    ),
    "is killed as it sums": Case(one("SIGKILL", "sum", 7), survived=True, quick=True),
    "rank 0 is killed in a step": Case(
        one("SIGKILL", "step", 7, rank=0), survived=True
    ),
    "two are killed": Case(
        one("SIGKILL", "sum", 5) + one("SIGKILL", "sum", 5, rank=2), survived=True
    ),
    "crashes in a block": Case(one("SIGSEGV", "compute", 5), survived=True),
    "is stopped as it sums": Case(
        one("SIGSTOP", "sum", 7),
        71,
        (f":0: {TOLD}training \\(step 7, block .*; it waits in the sum", f":2: {TOLD}"),
        quick=True,
    ),
    "is stopped as data is read": Case(
        one("SIGSTOP", "read"), 71, (f":0: {TOLD}reading the data",), quick=True
    ),
    "is stopped as it plans": Case(one("SIGSTOP", "plan"), 71, (f":0: {TOLD}",)),
    "is stopped as it evaluates": Case(
        one("SIGSTOP", "evaluate"), 71, (f":0: {TOLD}evaluating",)
    ),
    "is stopped as it leaves": Case(
        one("SIGSTOP", "leave"), 71, (f":0: {TOLD}leaving",), saved=True
    ),
    "is stuck in a block": Case(
        one("hang", "compute", 9), 71, (f":1: {TOLD}", "in wait_for_ever")
    ),
    "is late, but not too late": Case(
        one("delay", "step", 5, value=1.0), 0, saved=True, quick=True
    ),
    "is terminated": Case(one("SIGTERM", "step", 5), survived=True),
    "the launcher is terminated": Case(
        one("launcher", "step", 5, value="SIGTERM") + one("hang", "step", 6)
    ),
    "the launcher is interrupted": Case(
        one("launcher", "step", 5, value="SIGINT") + one("hang", "step", 6)
    ),
    "the launcher is killed": Case(
        one("launcher", "step", 5, value="SIGKILL"), quick=True
    ),
    "standard output is closed": Case(
        one("close", "step", 5, rank=0, value=1), 2, ("Bad file des",), saved=True
    ),
    "standard error is closed": Case(
        one("close", "step", 5, rank=0, value=2), 0, saved=True, quick=True
    ),
    "the disk is full as weights are saved": Case(
        words="mlp --epochs 3 --save {small}/w", code=2, says=(ENOSPC,), quick=True
    ),
    "the disk is full under the logs": Case(
        one("remove", "step", 5, rank=0, value="{small}/room"),
        words="mlp --epochs 3 --save {here}/w --log-dir {small}",
        code=0,
        saved=True,
    ),
    "is told to save and stop": Case(
        one("SIGUSR2", "step", 5),
        75,
        ("stopped after step .* with its checkpoint of step",),
        words=KEPT,
        quick=True,
    ),
    "rank 0 is terminated, and saves": Case(
        one("SIGTERM", "step", 5, rank=0),
        75,
        ("stopp.* with its checkpoint of step",),
        words=KEPT,
    ),
    "raises where there are checkpoints": Case(
        one("raise", "sum", 9), 70, (TRACEBACK,), words=KEPT
    ),
    "the disk is full under the checkpoints": Case(
        words="mlp --epochs 3 --save {here}/w --checkpoint {small} --save-every 5",
        code=0,
        says=(ENOSPC,),
        saved=True,
        quick=True,
    ),
    "the disk is full under the checkpoints, and there is no --save": Case(
        words="mlp --epochs 3 --checkpoint {small} --save-every 5",
        code=2,
        says=(ENOSPC, "does not hold its end"),
    ),
    "the checkpoints are removed": Case(
        one("remove", "step", 12, value="{here}/c"),
        words=KEPT + " --save {here}/w",
        code=0,
        saved=True,
    ),
    "the folder cannot be written": Case(
        words="mlp --epochs 3 --save /proc/w", code=2, says=("cannot write into /proc",)
    ),
    "the data is removed": Case(
        one("remove", "program", value="{here}/data.csv"),
        2,
        ("data.csv: there is no such file",),
        words=LINE,
        quick=True,
    ),
    "the folder is removed": Case(
        one("remove", "step", 2, value="{here}"),
        2,
        ("cannot write the weights to .*: No such file",),
        words=LINE,
    ),
}


@contextlib.contextmanager
def small_disk() -> Iterator[Path]:
    """Give a folder of 16 KB, all of it taken but for the last page; as root only."""
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", folder]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("no tmpfs can be mounted: not root, or not allowed")
        try:
            Path(folder, "room").write_bytes(bytes(12 << 10))
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)  # noqa: S607


def run_case(case: Case, launcher: str) -> CompletedRun:
    """Let it go wrong, and assert that it ends as promised."""
    library = "mpich" if launcher == "mpich" else "openmpi"
    lost = launcher == "ulfm" and case.survived
    if lost:
        says, saved = ("lost rank . on ",), case.body is None
        case = replace(case, code=0, says=says, saved=saved)
    elif launcher == "ulfm" and case.code == RankLostError.exit_code:
        # The launcher is asked to end the job, and may kill who asks; it returns 1.
        case = replace(case, code=None)
    with contextlib.ExitStack() as stack:
        here = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "here"
        here.mkdir()
        names = {"here": str(here)}
        if "{small}" in repr(case):
            names["small"] = str(stack.enter_context(small_disk()))
        (here / "model.py").write_text(MODEL)
        (here / "data.csv").write_text("p,t\n" + "1,2\n2,3\n" * 40)
        faults = [
            Fault(**{**vars(fault), "value": _filled(fault.value, names)})
            for fault in case.faults
        ]
        # A launcher may pass a signal to one process alone, and hear of the loss of
        # one alone: then no shell between.
        codes = not lost and all(fault.do != "launcher" for fault in faults)
        words = ["-m", "dtrain", *case.words.format(**names).split()]
        if case.body is not None:
            (here / "script.py").write_text(SCRIPT.format(body=case.body))
            words = [str(here / "script.py")]
        run = mpirun(
            RANKS,
            words,
            library=library,
            options=LAUNCHERS[launcher],
            faults=faults,
            codes=codes,
            timeout=LIMIT,
        )
        saved = (here / "w").read_bytes() if (here / "w").exists() else b""
    _check(case, run, saved)
    return run


def _filled(value: object, names: dict[str, str]) -> object:
    return value.format(**names) if isinstance(value, str) else value


def _check(case: Case, run: CompletedRun, saved: bytes) -> None:
    said = f"{run.returncode} {run.codes}\n{run.stdout}\n{run.stderr}"
    codes = {run.returncode, *run.codes}
    codes |= {int(code) for code in re.findall(r", (\d+)\) - process", run.stderr)}
    if case.code is None:
        assert run.returncode != 0, said
    else:
        assert case.code in codes, said
        assert case.code == 0 or run.returncode != 0, said
    for text in case.says:
        assert re.search(text, "".join(run.errors)), f"{text!r} is not in {said}"
    assert "".join(run.errors).count("Traceback (most recent call last)") <= 1, said
    if case.saved:
        assert saved == undisturbed(), said


_UNDISTURBED: list[bytes] = []


def undisturbed() -> bytes:
    """Give the weights file of a run that nothing disturbs."""
    if not _UNDISTURBED:
        with tempfile.TemporaryDirectory() as folder:
            words = f"-m dtrain mlp --epochs 3 --quiet --save {folder}/w".split()
            run = mpirun(1, words, library="mpich")
            assert run.returncode == 0, run.stderr
            _UNDISTURBED.append(Path(folder, "w").read_bytes())
    return _UNDISTURBED[0]


def main() -> None:
    """Run all, or so many of them, and print how each ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, help="runs, drawn at random (all)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    runs = [
        (name, launcher)
        for name, case in CASES.items()
        for launcher in LAUNCHERS
        # Where ranks may be lost, the job ends without the end of MPI.
        if launcher != "ulfm" or all(fault.at != "leave" for fault in case.faults)
    ]
    if args.count is not None:
        runs = random.Random(args.seed).sample(runs, min(args.count, len(runs)))  # noqa: S311
    times: dict[str, float] = {}
    failed = 0
    for name, launcher in runs:
        begun = time.monotonic()
        try:
            run = run_case(CASES[name], launcher)
            how = f"{run.returncode:4} {run.codes}"
        except (AssertionError, pytest.fail.Exception) as error:
            failed += 1
            how = f"FAILED\n{error}"
        except pytest.skip.Exception as reason:
            how = f"skipped: {reason}"
        times[f"{name}, {launcher}"] = seconds = time.monotonic() - begun
        print(f"{launcher:8} {name:40} {seconds:5.1f} s  {how}", flush=True)
    slowest = max(times, key=lambda name: times[name])
    print(
        f"faults: {len({name for name, _ in runs})} faults, {len(runs)} runs, "
        f"{failed} failed; median {np.median(list(times.values())):.1f} s, slowest "
        f"{times[slowest]:.1f} s ({slowest}); 0 left behind unless failed"
    )
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
