"""The kit itself: faults come where they are planned, and nothing is left behind."""

import pytest

from tests import mpirun as kit
from tests.kit.faults import PHASES, Fault
from tests.mpirun import mpirun

libraries = pytest.mark.parametrize("library", ["openmpi", "mpich"])


def tell_rank(world):
    """Say who this is; what each rank calls below."""
    ranks = world.allgather(b"%d" % world.rank)
    print(*map(bytes.decode, ranks), "on", world.rank)


@libraries
def test_a_function_is_called_on_every_rank(library):
    run = mpirun(3, tell_rank, library=library, codes=True)
    assert run.outputs == [f"0 1 2 on {rank}\n" for rank in range(3)], run.stderr
    assert run.codes == [0, 0, 0]


TRAIN = ["-m", "dtrain", "mlp", "--epochs", "1", "--quiet", "--validation", "0.1"]


def test_a_run_comes_through_every_phase(tmp_path):
    """The function that begins a phase exists, and its callers find the wrapped one."""
    marks = {at: tmp_path / f"mark {at}" for at in PHASES if PHASES[at]}
    for mark in marks.values():
        mark.touch()
    faults = [Fault("remove", 0, at, value=str(mark)) for at, mark in marks.items()]
    run = mpirun(2, [*TRAIN, "--save", str(tmp_path / "w")], faults=faults)
    assert run.returncode == 0, run.stderr
    assert [at for at, mark in marks.items() if mark.exists()] == []


def test_a_fault_comes_the_nth_time_on_one_rank():
    run = mpirun(2, TRAIN, faults=[Fault("raise", rank=1, at="step", n=7)], codes=True)
    assert run.codes[1] == 70
    assert "planted on rank 1 at step 7" in run.errors[1]
    assert "planted" not in run.errors[0]


@pytest.mark.parametrize(("times", "code"), [(1, 0), (2, 213)])
def test_a_launcher_that_does_not_come_up_is_started_again(
    times, code, tmp_path, monkeypatch
):
    script = f"""#!/bin/bash
        echo >>{tmp_path}/starts
        (($(wc -l <{tmp_path}/starts) > {times})) && exit
        echo "The PMIx server's listener thread failed to start."
        exit 213
    """
    (tmp_path / "mpirun").write_text(script)
    (tmp_path / "mpirun").chmod(0o755)
    monkeypatch.setattr(kit, "python_of", lambda _: tmp_path / "python")
    assert mpirun(1, ["-c", ""]).returncode == code
    assert (tmp_path / "starts").read_text() == "\n\n"


def test_a_process_that_is_left_behind_is_killed_and_told(monkeypatch):
    monkeypatch.setattr(kit, "LEAVE", 1.0)
    code = "import subprocess; subprocess.Popen(['sleep', '300'], stdout=-3, stderr=-3)"
    with pytest.raises(pytest.fail.Exception, match=r"outlived mpirun: .*'sleep"):
        mpirun(1, ["-c", f"{code}; import os; os.closerange(3, 5)"])


@pytest.mark.alone  # the end of any other run would find it, too
def test_what_is_left_in_shared_memory_is_told():
    code = "open('/dev/shm/dtrain-test-left', 'w').close()"
    with pytest.raises(pytest.fail.Exception, match="dtrain-test-left"):
        mpirun(1, ["-c", code])
    (kit.SHARED / "dtrain-test-left").unlink()
