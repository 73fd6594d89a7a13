"""Where a rank runs, as it sees it: launcher, MPI library, host, cores, memory."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dtrain.worlds.launcher import launched
from dtrain.worlds.world import World

PROMISES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS")
SETTINGS = (
    *("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"),
    *("PRTE_MCA_rmaps_default_mapping_policy", "OMPI_MCA_mpi_yield_when_idle"),
    "DTRAIN_WORLD",
)
LAUNCHERS = ("mpirun", "mpiexec", "prte", "hydra", "orte", "slurmstepd", "srun")


@dataclass(frozen=True)
class Site:
    """What one rank knows of its place.

    Attributes:
        host: the host's name.
        kernel: the running system's own number: containers of one machine share it.
        cores: those that this rank may run on.
        available: how many its container, or the whole machine, has.
        quota: how many cores' time its container is given; 0 for no limit.
        root: whether it runs as root.
        launcher: which launcher started it; empty for none.
        launcher_path: the program that is its ancestor, where /proc tells; alone, the
            mpirun that would be found.
        library_path: the MPI library that it has loaded; empty for none.
        shared_bytes: the size of /dev/shm; 0 where there is none.
        shared_free: what is left there.
        environ: those of PROMISES and SETTINGS that are set.

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


def look() -> Site:
    """See where this process runs."""
    launch = launched()
    size, free = _room("/dev/shm")  # noqa: S108 (it is looked at, not written to)
    return Site(
        host=socket.gethostname(),
        kernel=_read("/proc/sys/kernel/random/boot_id") or socket.gethostname(),
        cores=tuple(sorted(os.sched_getaffinity(0)))
        if hasattr(os, "sched_getaffinity")
        else tuple(range(os.cpu_count() or 1)),
        available=_count(_read("/sys/fs/cgroup/cpuset.cpus.effective"))
        or os.cpu_count()
        or 1,
        quota=_quota(_read("/sys/fs/cgroup/cpu.max")),
        root=os.geteuid() == 0,
        launcher=launch.launcher if launch else "",
        launcher_path=_launcher_path() if launch else shutil.which("mpirun") or "",
        library_path=_mapped(_read("/proc/self/maps")),
        shared_bytes=size,
        shared_free=free,
        environ={n: os.environ[n] for n in (*PROMISES, *SETTINGS) if n in os.environ},
    )


def gather(world: World) -> list[Site]:
    """Where each rank runs, on every rank; collective."""
    told = world.allgather(json.dumps(asdict(look())).encode())
    sites = []
    for facts in map(json.loads, told):
        facts["cores"] = tuple(facts["cores"])
        sites.append(Site(**facts))
    return sites


def machines(sites: Iterable[Site]) -> dict[str, list[int]]:
    """The ranks on each machine, whatever their containers are called."""
    found: dict[str, list[int]] = {}
    for rank, site in enumerate(sites):
        found.setdefault(site.kernel, []).append(rank)
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _quota(text: str) -> float:
    """Cores' worth of time in ``cpu.max`` of cgroups, version 2; 0 for no limit."""
    most, _, period = text.partition(" ")
    return int(most) / int(period) if most.isdigit() and period.isdigit() else 0.0


def _count(spans: str) -> int:
    """How many cores a list such as ``0-3,8`` has."""
    ends = [span.partition("-") for span in spans.split(",") if span]
    return sum(int(last or first) - int(first) + 1 for first, _, last in ends)


def _mapped(maps: str) -> str:
    found = re.search(r"(/\S*/libmpi(?:ch)?\.so\S*)", maps)
    return found[1] if found else ""


def _room(path: str) -> tuple[int, int]:
    """Size and free bytes of a file system."""
    try:
        room = os.statvfs(path)
    except OSError:
        return 0, 0
    return room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize


def _launcher_path() -> str:
    """The nearest ancestor that is a launcher's or its daemon's."""
    pid = os.getppid()
    while pid > 1:
        name, _, rest = _read(f"/proc/{pid}/stat").rpartition(")")
        if name.partition("(")[2].startswith(LAUNCHERS):
            try:
                return os.readlink(f"/proc/{pid}/exe")
            except OSError:  # another user's
                return ""
        fields = rest.split()
        pid = int(fields[1]) if len(fields) > 1 else 0
    return ""
