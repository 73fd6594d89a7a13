"""Faults that a test plans: which rank, where in its work, and what happens to it.

The product has no hooks for this. A rank's main function (`tests.kit.__main__`) reads
the plan from the environment and wraps the one function that begins the phase; the
fault comes when that is called for the n-th time, before it does anything.

    mpirun(3, ["-m", "dtrain", "mlp"], faults=[Fault("SIGKILL", rank=1, at="sum", n=7)])

As in pytest, what is fixed about a case is said in one line.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

PLANTED = "DTRAIN_TEST_FAULTS"

# Where the work can be interrupted: the function that begins the phase.
PHASES = {
    "start": "",  # before MPI, or anything of dtrain, is loaded
    "join": "dtrain.worlds.mpi_library:start",  # as MPI is about to be initialised
    "program": "dtrain.cli.sources:load_program",
    "read": "dtrain.problem.problem:open_data",
    "trace": "dtrain.problem.problem:loss_graph",
    "plan": "dtrain.engine.engine:plan",
    "step": "dtrain.training.trainer:Trainer.step",
    "compute": "dtrain.engine.engine:Engine._run",  # each stack of blocks
    "sum": "dtrain.reduction.exchange:Exchange.finish",  # own blocks are done
    "barrier": "dtrain.reduction.futex:Barrier.wait",
    "swap": "dtrain.worlds.mpi:MPIWorld.swap",
    "apply": "dtrain.training.state:State.step",  # summed, not yet applied
    "validate": "dtrain.training.validation:Validator.measure",
    "validated": "dtrain.training.state:State.validated",  # measured, not yet recorded
    "evaluate": "dtrain.problem.evaluate:measure",
    "save": "dtrain.training.run:save",
    "leave": "dtrain.worlds.mpi_library:finish",  # as MPI is about to be finalised
}

# The same where a run comes through it only if ranks are lost, or if it is asked to.
SOMETIMES = {
    "checkpoint": "dtrain.checkpoint.folder:Folder.save",
    "agree": "dtrain.worlds.ulfm:agree",
    "shrink": "dtrain.worlds.mpi:MPIWorld._shrink",
    "catch up": "dtrain.training.recovery:catch_up",
}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        do: a signal's name, for the rank to get it; or one of `ACTIONS`.
        rank: whose.
        at: the phase, one of `PHASES` or `SOMETIMES`.
        n: when that phase begins for the n-th time on this rank.
        value: the seconds of ``delay``, the code of ``exit`` and ``_exit``, the path of
            ``remove`` and ``die``, the file descriptor of ``close``, the name of the
            signal that the ``launcher`` gets.
        after: if not 0, it comes so many seconds later, from a thread.

    """

    do: str
    rank: int = 1
    at: str = "step"
    n: int = 1
    value: Any = None
    after: float = 0.0


class PlantedError(Exception):
    """What a rank raises that was told to."""


def fail(fault: Fault) -> NoReturn:
    """Raise what nobody expects."""
    raise PlantedError(f"planted on rank {fault.rank} at {fault.at} {fault.n}")


def wait_for_ever(_: Fault) -> None:
    """Do nothing more, without a core."""
    while True:
        time.sleep(3600)


def remove(fault: Fault) -> None:
    """Remove a file or folder."""
    path = Path(fault.value)
    # Where a rank is writing into a folder, some of it may come back.
    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


def signal_launcher(fault: Fault) -> None:
    """Send mpirun, which leads the session, a signal."""
    os.kill(os.getsid(0), signal.Signals[fault.value])


def die(fault: Fault) -> None:
    """Write down when, and be killed."""
    Path(fault.value).write_text(repr(time.monotonic()))
    os.kill(os.getpid(), signal.SIGKILL)


ACTIONS: dict[str, Callable[[Fault], object]] = {
    "raise": fail,
    "exit": lambda fault: sys.exit(fault.value),
    "_exit": lambda fault: os._exit(fault.value),
    "delay": lambda fault: time.sleep(fault.value),
    "hang": wait_for_ever,
    "remove": remove,
    "die": die,
    "close": lambda fault: os.close(fault.value),
    "launcher": signal_launcher,
}


def happen(fault: Fault) -> None:
    """Let it go wrong."""
    if fault.do in ACTIONS:
        ACTIONS[fault.do](fault)
    else:
        os.kill(os.getpid(), signal.Signals[fault.do])


def written(faults: Sequence[Fault]) -> str:
    """Write a plan, for the environment."""
    return json.dumps([asdict(fault) for fault in faults])


def planned(rank: int) -> list[Fault]:
    """Read the part of the plan in the environment that is this rank's."""
    faults = [Fault(**fields) for fields in json.loads(os.environ.get(PLANTED, "[]"))]
    return [fault for fault in faults if fault.rank == rank]


def plant(fault: Fault) -> None:
    """Wrap the function that begins the fault's phase, wherever it is known by name."""
    begins = {**PHASES, **SOMETIMES}[fault.at]
    if not begins:
        happen(fault)
        return
    home, _, name = begins.partition(":")
    owner: Any = importlib.import_module(home)
    *classes, name = name.split(".")
    for each in classes:
        owner = getattr(owner, each)
    real, calls = getattr(owner, name), 0

    @functools.wraps(real)
    def wrapped(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == fault.n:
            if fault.after:
                threading.Timer(fault.after, happen, [fault]).start()
            else:
                happen(fault)
        return real(*args, **options)

    setattr(owner, name, wrapped)
