"""A contender's processes, one for each rank, as the driver sees them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from benchmarks.contenders import ONE_THREAD, by_mpirun
from benchmarks.workloads import Case

ROOT = Path(__file__).parent.parent
# Where to find each MPI library's Python; `scripts/bench` sets what is not here.
PYTHONS = {
    "Open MPI": sys.executable,
    "MPICH": os.environ.get("DTRAIN_MPICH_PYTHON"),
}
LAUNCHERS = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "SLURM_")


class Failed(Exception):
    """A contender that raised, died, or took too long; the message says which.

    Attributes:
        late: it took too long.
    """

    late = False


class Group:
    """One contender on its ranks, ready for steps of a case.

    Args:
        name: the contender's name.
        ranks: how many processes.
        case: what to run.
        limit: seconds that anything it is told may take.

    Attributes:
        first: seconds from imports done to the end of the first step.

    Raises:
        Failed: it could not be made ready.
    """

    def __init__(self, name: str, ranks: int, case: Case, limit: float) -> None:
        self.limit = limit
        self._folder = tempfile.TemporaryDirectory(prefix="bench-")
        # Closed by kill(), as all that a group holds.
        self._log = tempfile.TemporaryFile("w+", dir=self._folder.name)  # noqa: SIM115
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ranks: list[Connection] = []
        try:
            self._start(name, ranks, case)
            meeting = os.path.join(self._folder.name, "meeting")
            if name == "jax.jit":
                meeting = f"127.0.0.1:{free_port()}"
            for rank in self._ranks:
                rank.send((case, meeting))
            self.first = max(self._answers())
        except BaseException:
            self.kill()
            raise

    def _start(self, name: str, ranks: int, case: Case) -> None:
        """Start the processes and wait until each has called."""
        address = os.path.join(self._folder.name, "driver")
        env = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHERS)}
        env |= {k: v for k, v in os.environ.items() if k.startswith("OMPI_ALLOW")}
        env |= ONE_THREAD | {
            "PYTHONPATH": str(ROOT),
            "TORCHINDUCTOR_CACHE_DIR": os.path.join(self._folder.name, "inductor"),
            "DTRAIN_CACHE": os.path.join(self._folder.name, "kernels"),
            "GLOO_SOCKET_IFNAME": "lo",
        }
        worker = ["-m", "benchmarks.worker", address, name, str(ranks)]
        launch = [[sys.executable, *worker]] * ranks
        if by_mpirun(name) and ranks > 1:
            python = PYTHONS[case.mpi]
            if python is None:
                raise Failed(f"no {case.mpi} here")
            env["PRTE_MCA_rmaps_default_mapping_policy"] = ":oversubscribe"
            env["PRTE_MCA_hwloc_default_binding_policy"] = "none"
            if ranks > len(os.sched_getaffinity(0)):  # else it waits for most of a turn
                env["OMPI_MCA_mpi_yield_when_idle"] = "1"
            mpirun = str(Path(python).with_name("mpirun"))
            launch = [[mpirun, "-n", str(ranks), python, *worker]]
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen(ranks)
            listener.settimeout(0.1)
            for number, words in enumerate(launch):
                self._processes.append(
                    subprocess.Popen(
                        words,
                        env=env | ({"BENCH_RANK": str(number)} if launch[1:] else {}),
                        stdin=subprocess.DEVNULL,
                        stdout=self._log,
                        stderr=self._log,
                        start_new_session=True,
                    )
                )
            called: dict[int, Connection] = {}
            end = time.monotonic() + 60
            while len(called) < ranks:
                try:
                    rank = Connection(listener.accept()[0].detach())
                    called[rank.recv()] = rank
                except TimeoutError:
                    if time.monotonic() > end or self._dead():
                        raise self._failed("did not start") from None
        self._ranks = [called[rank] for rank in range(ranks)]

    def run(self, steps: int) -> float:
        """Seconds for so many steps, of the slowest rank."""
        return max(self._ask("run", steps))

    def outcome(self, steps: int) -> dict[str, Any]:
        """What so many further steps have led to, on rank 0."""
        return self._ask("outcome", steps)[0]

    def resident(self) -> int:
        """The memory that the largest holds now, in bytes."""
        return max(self._ask("resident", None))

    def end(self) -> int:
        """End the processes; the peak memory of the largest, in bytes."""
        peak = max(self._ask("end", None))
        for process in self._processes:
            process.wait(30)
        self.kill()
        return peak

    def kill(self) -> None:
        """End what is left of the processes and all that they have started."""
        for process in self._processes:
            if process.poll() is None or process.returncode:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        for rank in self._ranks:
            rank.close()
        self._log.close()
        self._folder.cleanup()

    def _ask(self, command: str, argument: Any) -> list[Any]:
        for rank in self._ranks:
            rank.send((command, argument))
        return self._answers()

    def _answers(self) -> list[Any]:
        """One answer of each rank.

        Raises:
            Failed: a rank raised, died, or is late.
        """
        answers: dict[Connection, Any] = {}
        end = time.monotonic() + self.limit
        while waiting := [rank for rank in self._ranks if rank not in answers]:
            ready = wait(waiting, max(0, end - time.monotonic()))
            if not ready:
                failed = Failed(f"> {self.limit:g} s")
                failed.late = True
                raise failed
            for rank in ready:
                try:
                    answers[rank] = rank.recv()
                except EOFError:
                    raise self._failed("died") from None
                if isinstance(answers[rank], Exception):
                    raise self._failed(str(answers[rank]))
        return [answers[rank] for rank in self._ranks]

    def _dead(self) -> bool:
        return any(process.poll() is not None for process in self._processes)

    def _failed(self, why: str) -> Failed:
        self._log.flush()
        self._log.seek(0)
        print(self._log.read()[-2000:], file=sys.stderr)
        return Failed(why)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
