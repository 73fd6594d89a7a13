"""Memory that the ranks of one node share, and that nothing can leave behind.

It has no name in any file system: rank 0 makes it, the others open it through /proc,
and it ends with the last process that maps it (memfd_create(2), proc_pid_fd(5)).
"""

from __future__ import annotations

import json
import mmap
import os
import platform
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from dtrain.errors import RankLostError
from dtrain.parallel import futex
from dtrain.parallel.blocks import share

T = TypeVar("T")

NAME = "dtrain"  # to be seen in /proc only
TOKEN = slice(16, 32)  # where in its line each rank writes what only it knows
STRANGE = "what is open there is not the ranks' memory"


class Peers(Protocol):
    """The part of a World that sharing needs."""

    rank: int
    size: int

    @property
    def names(self) -> list[str]:
        """What each rank is called."""

    def allgather(self, data: bytes) -> list[bytes]:
        """Each rank's bytes, on every rank; see ``World.allgather``."""


class NotSharedError(Exception):
    """The ranks cannot share memory, and why; all of them raise it together."""


@dataclass(frozen=True)
class Segment:
    """A piece of memory that all ranks have mapped.

    Attributes:
        data: its bytes, reserved, and zeros at first.
        barrier: where the ranks wait for each other.
        group: the ranks.

    """

    data: NDArray[np.uint8]
    barrier: futex.Barrier
    group: Sequence[int]


def open_segment(peers: Peers, group: Sequence[int], size: int) -> Segment:
    """Make ``size`` bytes that a group of ranks shares; collective for all groups.

    Args:
        peers: all ranks.
        group: those that share with this one, ascending; the first makes the memory.
        size: of the memory, in bytes.

    Raises:
        NotSharedError: a group cannot share: a rank of it runs elsewhere, or there is
            no memory. All ranks of all groups raise it.

    """
    local = group.index(peers.rank)
    head = len(group) * futex.LINE
    token = secrets.token_hex(16)
    made: list[int] = []
    try:
        agreed(peers, lambda: None if local else made.append(make(head + size, token)))
        notes = peers.allgather(note(made[0] if made else -1, token))
        processes = [Process(*json.loads(notes[rank])) for rank in group]
        part = share(head + size, local, len(group))
        data = agreed(peers, lambda: map_shared(processes[0], part, head + size))
    finally:
        for fd in made:
            os.close(fd)
    lines = data[:head].reshape(len(group), futex.LINE)
    lines[local, TOKEN] = np.frombuffer(bytes.fromhex(token), np.uint8)
    tokens = [bytes.fromhex(process.token) for process in processes]
    cores = set().union(*(process.cores for process in processes))
    names = peers.names

    def look_after(place: int) -> None:
        rank, process = group[place], processes[place]
        if born(process.pid) != process.born:
            error = RankLostError(f"{names[rank]} is gone")
            error.rank = rank
            raise error

    barrier = futex.Barrier(
        lines.reshape(-1),
        local,
        spin=len(cores) >= len(group),
        look_after=look_after,
    )
    try:
        peers.allgather(b"")  # now all have written their tokens
        agreed(peers, lambda: check(lines, tokens))
    except RankLostError:
        barrier.leave()  # another may have got by, and wait there already
        raise
    return Segment(data[head:], barrier, group)


@dataclass(frozen=True)
class Process:
    """What a rank tells the others about its process.

    Attributes:
        fd: the file of the memory that it has made, -1 for none.
        pid: its number.
        born: when it was started, since numbers are used again.
        cores: those that it may run on.
        token: what only this process can have written, in hexadecimal.

    """

    fd: int
    pid: int
    born: str | None
    cores: list[int]
    token: str


def note(fd: int, token: str) -> bytes:
    """Write this process down for the others."""
    pid, cores = os.getpid(), sorted(os.sched_getaffinity(0))
    return json.dumps([fd, pid, born(pid), cores, token]).encode()


def born(pid: int) -> str | None:
    """Tell when a process was started, in kernel time; ``None`` if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *rest = text.rpartition(")")[2].split()  # its name may hold anything
    return None if state in "ZX" else rest[18]


def agreed(peers: Peers, step: Callable[[], T]) -> T:
    """Take a step on each rank; if it fails on any, raise a NotSharedError on all."""
    reason = b""
    try:
        result = step()
    except OSError as error:
        reason = str(error).encode()
    for rank, data in enumerate(peers.allgather(reason)):
        if data:
            raise NotSharedError(f"{peers.names[rank]}: {data.decode()}")
    return result


def make(size: int, token: str) -> int:
    """Make a file in memory, without a name, for a group; give its descriptor."""
    if sys.platform != "linux" or futex.SYSCALL is None:
        raise OSError(f"no futex known for {sys.platform} on {platform.machine()}")
    fd = os.memfd_create(NAME)
    try:
        os.ftruncate(fd, size)
        os.pwrite(fd, bytes.fromhex(token), TOKEN.start)
    except OSError:
        os.close(fd)
        raise
    return fd


def map_shared(maker: Process, part: range, size: int) -> NDArray[np.uint8]:
    """Map all of what another process has made, and reserve this rank's part of it."""
    path = f"/proc/{maker.pid}/fd/{maker.fd}"
    if not os.readlink(path).startswith(f"/memfd:{NAME} "):
        raise OSError(STRANGE)  # where processes have other numbers: do not touch it
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if os.pread(fd, 16, TOKEN.start) != bytes.fromhex(maker.token):
            raise OSError(STRANGE)
        # Without this a full node would end the process by SIGBUS, in the middle.
        os.posix_fallocate(fd, part.start, len(part))
        return np.frombuffer(mmap.mmap(fd, size), np.uint8)
    finally:
        os.close(fd)


def check(lines: NDArray[np.uint8], tokens: list[bytes]) -> None:
    """Raise an OSError unless every rank's token is in its line."""
    if [line[TOKEN].tobytes() for line in lines] != tokens:
        raise OSError(STRANGE)
