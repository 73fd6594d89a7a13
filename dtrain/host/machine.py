"""Facts about this machine: its cores, time quota, shared memory and libraries."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path


def boot_id() -> str:
    """Return the running kernel's ID, which all containers of a machine share."""
    return _read("/proc/sys/kernel/random/boot_id") or socket.gethostname()


def cores() -> tuple[int, ...]:
    """Return the cores that this process may run on, ascending."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def core_count() -> int:
    """Return the number of cores of the container, or of the whole machine."""
    return count(_read("/sys/fs/cgroup/cpuset.cpus.effective")) or os.cpu_count() or 1


def core_quota() -> float:
    """Return the container's limit on processor time, in cores; 0 for no limit."""
    return quota(_read("/sys/fs/cgroup/cpu.max"))


def space(path: str) -> tuple[int, int]:
    """Return the size and the free bytes of a file system; zeros if there is none."""
    try:
        found = os.statvfs(path)
    except OSError:
        return 0, 0
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def mpi_library() -> str:
    """Return the path of the MPI library that this process has loaded, or ""."""
    found = re.search(r"(/\S*/libmpi(?:ch)?\.so\S*)", _read("/proc/self/maps"))
    return found[1] if found else ""


def quota(text: str) -> float:
    """Read the text of ``cpu.max`` (cgroup v2), such as ``150000 100000``."""
    most, _, period = text.partition(" ")
    return int(most) / int(period) if most.isdigit() and period.isdigit() else 0.0


def count(ranges: str) -> int:
    """Count the cores in a list of ranges, such as ``0-3,8``."""
    ends = [each.partition("-") for each in ranges.split(",") if each]
    return sum(int(last or first) - int(first) + 1 for first, _, last in ends)


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
