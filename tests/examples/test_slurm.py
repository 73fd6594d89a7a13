"""The batch scripts for Slurm can be read; docker/test --slurm runs them."""

import subprocess
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "examples/slurm").glob("*.sbatch"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_batch_script_can_be_read(script):
    subprocess.run(["/bin/bash", "-n", script], check=True)
    options = [
        word
        for line in script.read_text().splitlines()
        if line.startswith("#SBATCH ")
        for word in line.split()[1:]
    ]
    assert "--requeue" in options
    assert any(option.startswith("--signal=") for option in options)


def test_there_are_two():
    assert [script.stem for script in SCRIPTS] == ["mpirun", "train"]
