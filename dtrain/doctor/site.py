"""Where a rank runs: its launcher, MPI library, host, cores and shared memory."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from dtrain.host import machine
from dtrain.host.processes import ancestors
from dtrain.worlds.launcher import launched
from dtrain.worlds.world import World

SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS")
SETTINGS = (
    *("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"),
    *("PRTE_MCA_rmaps_default_mapping_policy", "OMPI_MCA_mpi_yield_when_idle"),
    "DTRAIN_WORLD",
)
LAUNCHERS = ("mpirun", "mpiexec", "prte", "hydra", "orte", "slurmstepd", "srun")


@dataclass(frozen=True)
class Site:
    """Where one rank runs.

    Attributes:
        host: the host's name.
        kernel: the running kernel's ID, which all containers of a machine share.
        cores: the cores that this rank may run on.
        available: the number of cores of its container, or of the whole machine.
        quota: its container's limit on processor time, in cores; 0 for no limit.
        root: whether it runs as root.
        launcher: the name of its launcher; empty for none.
        launcher_path: the launcher's executable among its ancestors; without a
            launcher the mpirun in PATH; empty if not found.
        library_path: the MPI library that it has loaded; empty for none.
        shared_bytes: the size of /dev/shm; 0 if there is none.
        shared_free: the free bytes of /dev/shm.
        environ: the variables of SIZES and SETTINGS that are set.

    """

    host: str
    kernel: str
    cores: tuple[int, ...]
    available: int
    quota: float
    root: bool
    launcher: str
    launcher_path: str
    library_path: str
    shared_bytes: int
    shared_free: int
    environ: Mapping[str, str]


def here() -> Site:
    """Return where this process runs."""
    launch = launched()
    size, free = machine.space("/dev/shm")  # noqa: S108 (only its size is read)
    return Site(
        host=socket.gethostname(),
        kernel=machine.boot_id(),
        cores=machine.cores(),
        available=machine.core_count(),
        quota=machine.core_quota(),
        root=os.geteuid() == 0,
        launcher=launch.launcher if launch else "",
        launcher_path=_launcher_path() if launch else shutil.which("mpirun") or "",
        library_path=machine.mpi_library(),
        shared_bytes=size,
        shared_free=free,
        environ={n: os.environ[n] for n in (*SIZES, *SETTINGS) if n in os.environ},
    )


def gather(world: World) -> list[Site]:
    """Return each rank's `Site`; collective."""
    sites = []
    for fields in map(json.loads, world.allgather(json.dumps(asdict(here())).encode())):
        fields["cores"] = tuple(fields["cores"])
        sites.append(Site(**fields))
    return sites


def machines(sites: Iterable[Site]) -> dict[str, list[int]]:
    """Return the ranks on each machine, in whatever containers."""
    found: dict[str, list[int]] = {}
    for rank, site in enumerate(sites):
        found.setdefault(site.kernel, []).append(rank)
    return found


def _launcher_path() -> str:
    """Return the executable of the nearest ancestor that is a launcher, or ""."""
    for process in ancestors():
        if process.name.startswith(LAUNCHERS):
            try:
                return os.readlink(f"/proc/{process.pid}/exe")
            except OSError:  # another user's process
                return ""
    return ""
