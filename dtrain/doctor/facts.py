"""What a doctor knows, and what a finding is.

A finding is a function of facts alone, so every case can be tested without the machine
that has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dtrain.doctor.links import Link
from dtrain.doctor.site import Site
from dtrain.host.numerics import Difference
from dtrain.reduction.partition import Groups
from dtrain.worlds.launcher import SLURM

OK, NOTE, WRONG = "ok", "note", "wrong"
MB = 1e6


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        level: ok, note (worth knowing) or wrong.
        subject: what it is about.
        text: what has been found.
        command: what mends it; empty where nothing has to be mended.

    """

    level: str
    subject: str
    text: str
    command: str = ""


@dataclass(frozen=True)
class Folder:
    """What a folder for checkpoints is like.

    Attributes:
        path: of the folder.
        bytes_per_second: written and synchronised.
        free: bytes that are left.
        error: why nothing could be written; empty if it could.

    """

    path: str
    bytes_per_second: float = 0.0
    free: int = 0
    error: str = ""


@dataclass(frozen=True)
class Facts:
    """What has been gathered from all ranks.

    Attributes:
        mpi: the library and its version; ``None`` where none can be loaded.
        sites: where each rank runs.
        groups: the ranks that share memory, once they have tried.
        arithmetic: what the first rank's bits depend on, by name.
        differences: in what ranks are not alike.
        threads: of BLAS, on the first rank.
        links: from rank 0 to others.
        sum_bytes: of a GradientVector that was summed over all ranks.
        sum_seconds: how long that took.
        folder: of checkpoints, if one was named.
        refused: why MPI's ranks could not be joined; empty if they could.
        fault_tolerant: whether the others can go on when a rank is lost.

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
        """How many ranks there are."""
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
        """The command that starts as many ranks with the launcher's options."""
        launcher = "srun" if self.sites[0].launcher == SLURM else "mpirun"
        return f"{launcher} {options} -n {self.size} python -m dtrain"
