"""The facts that the doctor gathers, and the findings that it derives from them.

A finding is a function of facts alone, so each case can be tested without the machine
that has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dtrain.doctor.measure import Folder, Link
from dtrain.doctor.site import Site
from dtrain.host.numerics import Difference
from dtrain.reduction.partition import Groups
from dtrain.worlds.launcher import SLURM

OK, NOTE, WRONG = "ok", "note", "wrong"
MB = 1e6


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's output.

    Attributes:
        level: ok, note (worth knowing) or wrong.
        subject: one or two words.
        text: a description.
        command: a command that fixes it; empty if there is nothing to fix.

    """

    level: str
    subject: str
    text: str
    command: str = ""


@dataclass(frozen=True)
class Facts:
    """The facts gathered from all ranks.

    Attributes:
        mpi: the MPI library and its version; ``None`` if none can be loaded.
        sites: where each rank runs.
        groups: the ranks that share memory, after they have tried.
        arithmetic: the numerical environment of rank 0, by name.
        differences: how the ranks' numerical environments differ.
        threads: of BLAS, on rank 0.
        links: the connections from rank 0 to others.
        sum_bytes: the size of a vector that was summed over all ranks.
        sum_seconds: the time of that sum.
        folder: the folder for checkpoints, if one was given.
        refused: why the ranks could not join MPI; empty if they could.
        fault_tolerant: whether the other ranks can continue when one is lost.

    """

    mpi: str | None
    sites: Sequence[Site]
    groups: Groups
    arithmetic: Mapping[str, str]
    differences: Sequence[Difference] = ()
    threads: int = 1
    links: Sequence[Link] = ()
    sum_bytes: int = 0
    sum_seconds: float = 0.0
    folder: Folder | None = None
    refused: str = ""
    fault_tolerant: bool = False

    @property
    def size(self) -> int:
        """The number of ranks."""
        return len(self.sites)

    @property
    def hosts(self) -> list[str]:
        """The name of each rank's host."""
        return [site.host for site in self.sites]

    @property
    def open_mpi(self) -> bool:
        """Whether the library is Open MPI."""
        return "Open MPI" in (self.mpi or "")

    def start(self, options: str) -> str:
        """Return the command that starts as many ranks with the launcher's options."""
        launcher = "srun" if self.sites[0].launcher == SLURM else "mpirun"
        return f"{launcher} {options} -n {self.size} python -m dtrain"
