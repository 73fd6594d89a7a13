"""A rank that fails ends the job with its exit code; one traceback is printed."""

import pytest

from tests.mpirun import mpirun

SCRIPT = """
import os, signal, sys, time
import numpy as np
from dtrain.errors import DataError, NotFiniteError
from dtrain.gradient.layout import Layout
from dtrain.gradient.vector import GradientVector
from dtrain.reduction import segment
from dtrain.worlds.opening import open_world

def culprit(error):
    raise error

world = open_world()
assert world.size == 3

def work(world):
    {body}
    world.broadcast(np.zeros(4), root=2)
    world.allgather(b"never")

{call}
"""

libraries = pytest.mark.parametrize("library", ["openmpi", "mpich"])


def job(body, library, call="world.run(work)"):
    return mpirun(
        3, ["-c", SCRIPT.format(body=body, call=call)], library=library, timeout=60
    )


def failed(run):
    """Return the ranks that have printed an error."""
    return [
        rank
        for rank, text in enumerate(run.errors)
        if any(f":{rank}: " in line for line in text.splitlines())
    ]


@libraries
def test_an_error_on_one_rank_ends_all(library):
    run = job("world.rank == 1 and culprit(KeyError('mine'))", library)
    assert run.aborted_with(70)
    assert failed(run) == [1]
    lines = run.errors[1].splitlines()
    text = [line for line in lines if ":1: " in line]
    assert "in culprit" in run.errors[1]
    assert text[0].endswith(":1: Traceback (most recent call last):")
    assert text[-1].endswith(":1: KeyError: 'mine'")


@libraries
def test_if_all_raise_at_once_only_one_prints(library):
    run = job("culprit(NotFiniteError(f'rank {world.rank}'))", library)
    assert run.returncode != 0
    assert len(failed(run)) == 1
    assert run.stderr.count("Traceback") == 1


@libraries
def test_the_first_rank_to_raise_prints(library):
    run = job("time.sleep(0.04 * (2 - world.rank)); culprit(OSError())", library)
    assert run.returncode != 0
    assert failed(run) == [2]


@libraries
def test_a_usage_error_has_no_traceback(library):
    run = job("world.rank == 2 and culprit(DataError('row 3 is NaN'))", library)
    assert run.aborted_with(2)
    assert failed(run) == [2]
    assert "DataError: row 3 is NaN" in run.errors[2]
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("library", "leave", "code"),
    [
        ("openmpi", "3", 3),
        ("mpich", "0", 70),
        pytest.param("mpich", "3", 3, marks=pytest.mark.full),
        pytest.param("openmpi", "0", 70, marks=pytest.mark.full),
        pytest.param("mpich", "'words'", 1, marks=pytest.mark.full),
        pytest.param("openmpi", "'words'", 1, marks=pytest.mark.full),
    ],
)
def test_a_rank_that_exits_alone_ends_all(library, leave, code):
    run = job(f"world.rank == 0 and sys.exit({leave})", library)
    assert run.aborted_with(code)
    assert failed(run) == [0]
    assert "SystemExit" in run.errors[0]


@libraries
def test_all_ranks_may_exit_with_0(library):
    run = job("sys.exit(0)", library)
    assert run.returncode == 0
    assert failed(run) == []


@libraries
def test_rank_0_prints_an_agreed_error_and_all_exit_with_its_code(library):
    error = "DataError('row 3') if world.rank == 1 else None"
    run = job(f"world.agree({error})", library)
    assert run.returncode == 2
    assert [text.count("DataError: row 3") for text in run.errors] == [1, 0, 0]


@libraries
def test_an_error_in_a_script_outside_run_ends_all(library):
    run = job("pass", library, call="world.rank or 1 / 0\nwork(world)")
    assert run.aborted_with(70)
    assert failed(run) == [0]
    assert "ZeroDivisionError" in run.errors[0]


@libraries
def test_a_finished_job_exits_with_0_and_prints_nothing(library):
    run = job("return", library)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_a_job_that_hangs_is_killed_with_all_its_ranks():
    with pytest.raises(pytest.fail.Exception, match=r"not done after 3 s\nstarted"):
        mpirun(
            2,
            ["-c", "import time; print('started', flush=True); time.sleep(600)"],
            timeout=3,
        )


SUM = "world.tree_sum(0, [], GradientVector(Layout.of({'w': (99,)}, 'float32')))"


@libraries
def test_a_rank_killed_in_a_sum_ends_all(library):
    killed = "time.sleep(0.5); os.kill(os.getpid(), signal.SIGKILL)"
    run = job(f"{SUM}; world.rank != 1 or exec({killed!r}); {SUM}", library)
    assert run.returncode != 0
    for rank in (0, 2):  # the launcher often kills them before they print
        assert "Traceback" not in run.errors[rank] or "rank 1 on" in run.errors[rank]


@libraries
def test_a_rank_that_detects_an_exited_rank_ends_all(library):
    pretend = "setattr(segment.processes, 'find', lambda pid: None)"
    late = f"world.rank == 1 and time.sleep(600); world.rank == 0 and {pretend}"
    run = job(f"{SUM}; {late}; {SUM}", library)
    assert run.aborted_with(71)
    assert failed(run) == [0]
    assert "RankLostError: rank 1 on " in run.errors[0]
