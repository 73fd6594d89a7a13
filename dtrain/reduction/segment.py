"""Memory that the ranks of one machine share and that vanishes with them.

It has no name in any file system: one rank creates it, the others open it through
/proc, and the kernel frees it when the last process that maps it ends
(memfd_create(2), proc_pid_fd(5)).
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
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from dtrain.errors import RankLostError
from dtrain.host import machine, processes
from dtrain.reduction import futex
from dtrain.reduction.blocks import share

T = TypeVar("T")

NAME = "dtrain"  # in /proc only
TOKEN = slice(16, 32)  # the bytes of a rank's cache line that hold its token
WRONG_FILE = "the opened file is not the memory of these ranks"


class Peers(Protocol):
    """The part of a World that `open_segment` needs."""

    rank: int
    size: int

    @property
    def names(self) -> list[str]:
        """The name of each rank."""

    def allgather(self, data: bytes) -> list[bytes]:
        """Return every rank's bytes on every rank; see ``World.allgather``."""


class NotSharedError(Exception):
    """The ranks cannot share memory; all of them raise it together."""


@dataclass(frozen=True)
class Segment:
    """Memory that all ranks of a group have mapped.

    Attributes:
        data: its bytes, allocated, initially zero.
        barrier: the barrier of these ranks.
        group: these ranks, ascending.

    """

    data: NDArray[np.uint8]
    barrier: futex.Barrier
    group: Sequence[int]


def open_segment(peers: Peers, group: Sequence[int], size: int) -> Segment:
    """Create ``size`` bytes that a group of ranks shares; collective for all groups.

    Args:
        peers: all ranks.
        group: the ranks that share with this one, ascending; the first creates the
            memory.
        size: of the memory, in bytes.

    Raises:
        NotSharedError: a group cannot share, because one of its ranks runs elsewhere
            or no memory is left. All ranks of all groups raise it.

    """
    local = group.index(peers.rank)
    head = len(group) * futex.LINE
    token = secrets.token_hex(16)
    made: list[int] = []
    try:
        agreed(peers, lambda: None if local else made.append(make(head + size, token)))
        notes = peers.allgather(introduce(made[0] if made else -1, token))
        members = [Member(*json.loads(notes[rank])) for rank in group]
        part = share(head + size, local, len(group))
        data = agreed(peers, lambda: map_shared(members[0], part, head + size))
    finally:
        for fd in made:
            os.close(fd)
    lines = data[:head].reshape(len(group), futex.LINE)
    lines[local, TOKEN] = np.frombuffer(bytes.fromhex(token), np.uint8)
    tokens = [bytes.fromhex(member.token) for member in members]
    cores = set().union(*(member.cores for member in members))
    names = peers.names

    def check_alive(index: int) -> None:
        rank, member = group[index], members[index]
        found = processes.find(member.pid)
        if found is None or found.started != member.started:
            error = RankLostError(f"{names[rank]} has exited")
            error.rank = rank
            raise error

    barrier = futex.Barrier(
        lines.reshape(-1),
        local,
        spin=len(cores) >= len(group),
        check_alive=check_alive,
    )
    try:
        peers.allgather(b"")  # wait until all ranks have written their tokens
        agreed(peers, lambda: check(lines, tokens))
    except RankLostError:
        barrier.leave()  # another rank may be waiting at the barrier already
        raise
    return Segment(data[head:], barrier, group)


@dataclass(frozen=True)
class Member:
    """What a rank sends its group about its process.

    Attributes:
        fd: the descriptor of the memory that it has created; -1 for none.
        pid: its process ID.
        started: when it started; see ``processes.Process``.
        cores: the cores that it may run on.
        token: a random number in hexadecimal that no other process knows.

    """

    fd: int
    pid: int
    started: int | None
    cores: list[int]
    token: str


def introduce(fd: int, token: str) -> bytes:
    """Encode this process's `Member`."""
    this = processes.find(os.getpid())
    started = this.started if this else None
    return json.dumps([fd, os.getpid(), started, machine.cores(), token]).encode()


def agreed(peers: Peers, step: Callable[[], T]) -> T:
    """Call ``step`` on each rank; if any raises OSError, all raise NotSharedError."""
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
    """Create an anonymous file in memory; return its descriptor."""
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


def map_shared(maker: Member, part: range, size: int) -> NDArray[np.uint8]:
    """Map the whole file that another process has created; allocate ``part`` of it."""
    path = f"/proc/{maker.pid}/fd/{maker.fd}"
    if not os.readlink(path).startswith(f"/memfd:{NAME} "):
        raise OSError(WRONG_FILE)  # another PID namespace: do not open it
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if os.pread(fd, 16, TOKEN.start) != bytes.fromhex(maker.token):
            raise OSError(WRONG_FILE)
        # Without this, a machine without free memory would kill the process by SIGBUS
        # at a later access.
        os.posix_fallocate(fd, part.start, len(part))
        return np.frombuffer(mmap.mmap(fd, size), np.uint8)
    finally:
        os.close(fd)


def check(lines: NDArray[np.uint8], tokens: list[bytes]) -> None:
    """Raise an OSError unless every rank's token is in its line."""
    if [line[TOKEN].tobytes() for line in lines] != tokens:
        raise OSError(WRONG_FILE)
