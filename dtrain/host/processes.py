"""Processes of this machine, as /proc/PID/stat shows them (proc_pid_stat(5))."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_IMPORTED = time.monotonic()


@dataclass(frozen=True)
class Process:
    """One running process.

    Attributes:
        pid: its process ID.
        name: the first 15 characters of its program's file name.
        parent: the process ID of its parent.
        started: when it started, in clock ticks since boot. The pair (pid, started) is
            unique, while the kernel reuses the process ID alone.

    """

    pid: int
    name: str
    parent: int
    started: int


def find(pid: int) -> Process | None:
    """Return a running process; ``None`` if it has ended or /proc does not show it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        start, _, rest = text.rpartition(")")  # the name may contain any character
        state, parent, *fields = rest.split()
        name = start.partition("(")[2]
        process = Process(pid, name, int(parent), int(fields[17]))
    except (OSError, ValueError, IndexError):
        return None
    return None if state in "ZX" else process  # a zombie, or dead


def ancestors() -> Iterator[Process]:
    """Yield the ancestors of this process below process 1, the parent first."""
    pid = os.getppid()
    while pid > 1 and (process := find(pid)):
        yield process
        pid = process.parent


def process_seconds() -> float:
    """Return the seconds since this process started; without /proc, since import."""
    process = find(os.getpid())
    if process is None or not hasattr(time, "CLOCK_BOOTTIME"):
        return time.monotonic() - _IMPORTED
    started = process.started / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started
