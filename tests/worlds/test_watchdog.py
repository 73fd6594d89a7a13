"""A rank that stands still: noticed, told, ended; one that moves is left alone."""

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
from tests.mpirun import clean_environment, mpirun


@pytest.fixture
def watched(monkeypatch):
    """A position, its watchdog, and the codes with which it has ended all ranks."""
    monkeypatch.setattr(watchdog, "MOMENT", 0.0)
    ended = []
    position = Position("here:1")
    return position, Watchdog(position, ended.append, 0.3), ended


def closed():
    """A stream that somebody has closed."""
    stream = io.StringIO()
    stream.close()
    return stream


class Broken(io.StringIO):
    """A stream whose reader has left."""

    def write(self, _):
        """Fail."""
        raise BrokenPipeError


def until(condition):
    """Wait for what a watchdog does; the limit is for slow machines."""
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_a_rank_that_stands_still_is_ended_and_says_where(watched, capsys):
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
def test_a_rank_that_moves_is_left_alone(watched, what):
    position, dog, ended = watched
    with dog.watching("training"):
        for number in range(40):
            setattr(position, what, f"part {number}" if what == "phase" else number)
            time.sleep(0.03)
    assert ended == []


def test_nobody_is_watched_after_the_work_or_without_a_limit(watched):
    _, dog, ended = watched
    with dog.watching("training"):
        dog.limit = 0.0
        time.sleep(0.6)
    dog.limit = 0.3
    time.sleep(0.6)
    assert ended == []
    assert not any(thread.name == "watchdog" for thread in threading.enumerate())


@pytest.mark.parametrize("stream", [None, closed, Broken])
def test_all_are_ended_though_nobody_can_read_it(watched, monkeypatch, stream):
    _, dog, ended = watched
    monkeypatch.setattr(sys, "stderr", stream and stream())
    monkeypatch.setattr(sys, "stdout", stream and stream())
    with dog.watching("training"):
        until(lambda: ended)
    assert ended == [71]


def test_a_job_that_was_suspended_as_a_whole_goes_on():
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


def test_a_thread_that_plays_a_rank_is_watched_if_asked_for():
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
    world.watchdog.limit = 2.0
    if world.rank == 1:
        return
    world.compare("nothing", "")


def test_a_rank_that_returns_early_keeps_nobody():
    run = mpirun(3, leave_early, library="mpich")
    assert run.returncode == 71
    for rank, where in enumerate(["comparison of all ranks", "the end of MPI"]):
        assert "no progress for 2 s" in run.errors[rank]
        assert where in run.errors[rank]


def test_a_script_s_own_limit_holds_while_ranks_join():
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
    assert "Timeout (0:00:02)" in run.errors[0]  # MPI_Init lets no Python run
    assert "line 13 in <module>" in run.errors[0]
