"""A rank without progress is reported and ended; one with progress is not."""

import io
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from dtrain.worlds import watchdog
from dtrain.worlds.watchdog import Position, Watchdog
from tests.kit.faults import Fault
from tests.mpirun import clean_environment, mpirun

LIMIT = 6  # seconds: on a busy machine, several ranks take some to start
full = pytest.mark.full


@pytest.fixture
def watched(monkeypatch):
    """Return a position, its watchdog, and a list of the codes that it aborts with."""
    monkeypatch.setattr(watchdog, "MOMENT", 0.0)
    ended = []
    position = Position("here:1")
    return position, Watchdog(position, ended.append, 0.3), ended


def closed():
    """Return a closed stream."""
    stream = io.StringIO()
    stream.close()
    return stream


class Broken(io.StringIO):
    """A stream whose reader has exited."""

    def write(self, _):
        """Fail."""
        raise BrokenPipeError


def until(condition):
    """Wait for the watchdog, at most 20 s on a slow machine."""
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_a_rank_without_progress_is_ended_and_prints_its_position(watched, capsys):
    position, dog, ended = watched
    with dog.watching("training"):
        position.step = 7
        until(lambda: ended)
    assert ended == [71]
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("here:1: ") for line in lines)
    assert "0.3 s while training (step 7); it waits in no exchange" in lines[0]
    assert any("in until" in line for line in lines)


@pytest.mark.parametrize("what", ["phase", "step", "moves"])
def test_a_rank_with_progress_is_not_ended(watched, what):
    position, dog, ended = watched
    dog.limit = 1.5
    with dog.watching("training"):
        for number in range(60):
            setattr(position, what, f"part {number}" if what == "phase" else number)
            time.sleep(0.05)
    assert ended == []


def test_nothing_is_watched_after_the_work_or_without_a_limit(watched):
    _, dog, ended = watched
    with dog.watching("training"):
        dog.limit = 0.0
        time.sleep(0.6)
    dog.limit = 0.3
    time.sleep(0.6)
    assert ended == []
    assert not any(thread.name == "watchdog" for thread in threading.enumerate())


@pytest.mark.parametrize("stream", [None, closed, Broken])
def test_all_ranks_are_ended_even_if_stderr_cannot_be_written(
    watched, monkeypatch, stream
):
    _, dog, ended = watched
    monkeypatch.setattr(sys, "stderr", stream and stream())
    monkeypatch.setattr(sys, "stdout", stream and stream())
    with dog.watching("training"):
        until(lambda: ended)
    assert ended == [71]


def test_a_kept_watchdog_needs_no_new_thread(watched, monkeypatch, capsys):
    _, dog, ended = watched
    dog.keep()
    with dog.watching("working"):
        pass

    def refuse(_):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with dog.watching("leaving"):
        until(lambda: ended)
    assert "while leaving" in capsys.readouterr().err


# Exit like CPython 3.12, in any version.
NO_NEW_THREAD = f"""
import atexit, os, sys, threading, time
from dtrain.worlds.opening import open_world

def refuse(_):
    raise RuntimeError("can't create new thread at interpreter shutdown")

world = open_world(timeout={LIMIT})
assert world.size == 2
atexit.register(setattr, threading.Thread, "start", refuse)
"""
ENDS = {
    "normal": ("", 0),
    "sys.exit(0)": ("sys.exit(0)", 0),
    "error": ("raise ValueError", 70),
    "agreed error": ("world.compare('data', str(world.rank))", 2),
    "late rank": ("time.sleep(world.rank)", 0),
    "stuck rank": ("if world.rank: atexit.register(time.sleep, 600)", 71),
}


KINDS = ["openmpi", "mpich", "ulfm"]


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        pytest.param(kind, end, marks=[] if (i + j) % 3 == 0 else full)
        for i, kind in enumerate(KINDS)
        for j, end in enumerate(ENDS)
    ],
)
def test_no_thread_is_started_at_shutdown(kind, end):
    library = "mpich" if kind == "mpich" else "openmpi"
    options = ["--with-ft", "ulfm"] if kind == "ulfm" else []
    last, code = ENDS[end]
    run = mpirun(2, ["-c", NO_NEW_THREAD + last], library=library, options=options)
    assert "can't create new thread" not in run.stderr
    assert run.aborted_with(code) or (code == 71 and run.returncode != 0), run.stderr
    if code == 71:
        assert f"no progress for {LIMIT} s while leaving" in run.errors[0]


STUCK = {
    "before the setup": Fault("hang", rank=1, at="program"),
    "in the setup": Fault("hang", rank=1, at="trace"),
    "before the first step": Fault("hang", rank=1, at="plan"),
    "in a step": Fault("hang", rank=1, at="step", n=3),
}
DEFAULT = ((0, 0), (1, 3))  # without --all: one phase with each library


@pytest.mark.parametrize(
    ("library", "when"),
    [
        pytest.param(library, when, marks=[] if (i, j) in DEFAULT else full)
        for i, library in enumerate(["openmpi", "mpich"])
        for j, when in enumerate(STUCK)
    ],
)
def test_ranks_name_the_rank_that_they_wait_for(library, when):
    args = f"-m dtrain train lecture --epochs 9 --timeout {LIMIT}".split()
    run = mpirun(3, args, library=library, faults=[STUCK[when]])
    assert run.aborted_with(71), run.stderr
    for rank in (0, 2):
        lines = run.errors[rank].splitlines()
        assert any(f":{rank}: it waits for rank 1 on " in line for line in lines)
    assert "it waits for" not in run.errors[1]


def test_a_rank_without_shared_memory_names_the_rank_that_it_waits_for():
    code = f"""if True:
        import time
        import numpy as np
        from dtrain.worlds.mpi import MPIWorld

        world = MPIWorld(shared=False, timeout={LIMIT})
        assert world.size == 3

        def work(world):
            if world.rank == 2:
                time.sleep(600)
            world.gather_rows(np.ones(world.rank))

        world.run(work)
    """
    run = mpirun(3, ["-c", code])
    assert run.returncode == 71, run.stderr
    assert "it waits for rank 2 on" in run.errors[1]


def test_threads_name_the_rank_that_they_wait_for():
    code = """if True:
        import time
        from dtrain import ThreadWorld

        def work(world):
            world.watchdog.limit = 1.0
            if world.rank == 1:
                time.sleep(600)
            world.allgather(b"")

        ThreadWorld(3).run(work)
    """
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 71, run.stderr
    assert ":0: it waits for rank 1 on" in run.stderr
    assert ":2: it waits for rank 1 on" in run.stderr


def test_a_job_that_was_suspended_as_a_whole_continues():
    code = """if True:
        import numpy as np, time
        from dtrain import program, train, weight

        @program
        def line(p):
            return weight("slope") * p

        def slowly(record):
            print(record.step, flush=True)
            time.sleep(0.1)

        x = np.ones(4)
        options = dict(epochs=30, learning_rate=0.1, timeout=1, callbacks=[slowly])
        train(line, {"p": x, "t": x}, **options)
    """
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=clean_environment()
    ) as process:
        process.stdout.readline()
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(2.5)
        os.kill(process.pid, signal.SIGCONT)
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_threads_are_watched_if_a_timeout_is_set():
    code = """if True:
        import numpy as np, time
        from dtrain import ThreadWorld, program, train, weight

        @program
        def line(p):
            return weight("slope") * p

        def stuck(record):
            time.sleep(600)

        x = np.ones(4)
        options = dict(epochs=3, learning_rate=0.1, timeout=0.5, callbacks=[stuck])
        train(line, {"p": x, "t": x}, world=ThreadWorld(2), **options)
    """
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 71, run.stderr
    assert ":0: no progress" in run.stderr
    assert ":1: no progress" in run.stderr
    assert "in stuck" in run.stderr


def leave_early(world):
    """Return on one rank while the others wait for it."""
    world.watchdog.limit = float(LIMIT)
    if world.rank == 1:
        return
    world.compare("nothing", "")


def test_a_rank_that_returns_early_does_not_block_the_others():
    run = mpirun(3, leave_early, library="mpich")
    assert run.aborted_with(71)
    for rank, where in enumerate(["comparison of all ranks", "the end of MPI"]):
        assert f"no progress for {LIMIT} s" in run.errors[rank]
        assert where in run.errors[rank]


def test_the_timeout_of_a_script_applies_while_ranks_join():
    code = """if True:
        import os, time
        from dtrain import program, train, weight
        import numpy as np

        @program
        def line(p):
            return weight("slope") * p

        if os.environ["PMI_RANK"] == "1":
            time.sleep(600)
        x = np.ones(4)
        train(line, {"p": x, "t": x}, epochs=1, learning_rate=0.1, timeout=2)
    """
    run = mpirun(2, ["-c", code], library="mpich")
    assert run.returncode != 0
    assert "Timeout (0:00:02)" in run.errors[0]  # MPI_Init holds the interpreter's lock
    assert "line 13 in <module>" in run.errors[0]
