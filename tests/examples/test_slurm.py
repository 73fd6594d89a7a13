"""The batch scripts for Slurm, with stand-ins for Slurm; docker/test --slurm has it."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "examples/slurm").glob("*.sbatch"))
# What stands in for srun and mpirun: it ends with $CODE, and writes the report, or not.
LAUNCHER = """#!/bin/bash
echo "$@" >>launched
trap 'echo told >>launched' USR2
touch ready
for ((i = 0; i < ${TENTHS:-0}; i++)); do sleep 0.1; done
[[ ! ${REPORT-} ]] || touch "$REPORT"
exit "$CODE"
"""
scripts = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


@pytest.fixture
def job(tmp_path):
    """Give what starts a script in a folder of its own, with stand-ins for Slurm."""
    for name in ("srun", "mpirun"):
        (tmp_path / name).write_text(LAUNCHER)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "scontrol").write_text('#!/bin/bash\necho "$@" >>requeued\n')
    (tmp_path / "scontrol").chmod(0o755)

    def start(script, *words, **variables):
        own = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
        command = ["/bin/bash", str(script), "model.py:R", "a file.npz", *words]
        return subprocess.Popen(command, cwd=tmp_path, env=os.environ | own | variables)

    return start


@scripts
def test_a_batch_script_asks_for_signals_and_for_being_requeued(script):
    options = [
        word
        for line in script.read_text().splitlines()
        if line.startswith("#SBATCH ")
        for word in line.split()[1:]
    ]
    assert "--requeue" in options
    assert any(option.startswith("--signal=") for option in options)


@pytest.mark.parametrize(
    ("code", "again"),
    [(0, 0), (2, 0), (70, 0), (71, 1), (75, 1), (137, 1), (140, 1)],
)
@scripts
def test_it_is_requeued_for_what_another_start_may_cure(
    script, code, again, job, tmp_path
):
    assert job(script, CODE=str(code), REPORT="dtrain-7.json").wait(20) == code
    requeued = tmp_path / "requeued"
    assert requeued.exists() == bool(again)
    assert not again or requeued.read_text() == "requeue 7\n"
    (words,) = (tmp_path / "launched").read_text().splitlines()
    assert "model.py:R a file.npz --resume" in words


@scripts
def test_it_is_not_requeued_for_ever(script, job, tmp_path):
    assert job(script, CODE="71", SLURM_RESTART_COUNT="50").wait(20) == 71
    assert not (tmp_path / "requeued").exists()


@pytest.mark.parametrize(
    "words", [[], ["--report", "my own.json"], ["--report=my own.json"]]
)
def test_an_end_without_a_report_is_none(words, job, tmp_path):
    (script,) = (script for script in SCRIPTS if script.stem == "mpirun")
    name = "my own.json" if words else "dtrain-7.json"
    assert job(script, *words, CODE="0", REPORT=name).wait(20) == 0
    assert not (tmp_path / "requeued").exists()
    # It is the report of an earlier start now.
    assert job(script, *words, CODE="0").wait(20) == 255
    assert (tmp_path / "requeued").read_text() == "requeue 7\n"
    assert f"--report {name}" in (tmp_path / "launched").read_text()


def test_signals_are_passed_on_and_waited_for(job, tmp_path):
    (script,) = (script for script in SCRIPTS if script.stem == "mpirun")
    process = job(script, CODE="75", TENTHS="20")
    deadline = time.monotonic() + 20
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    for _ in range(2):
        process.send_signal(signal.SIGUSR2)
        time.sleep(0.3)
    assert process.wait(20) == 75
    told = (tmp_path / "launched").read_text().splitlines()[1:]
    assert told == ["told", "told"]
    assert (tmp_path / "requeued").read_text() == "requeue 7\n"


def test_there_are_two():
    assert [script.stem for script in SCRIPTS] == ["mpirun", "train"]
