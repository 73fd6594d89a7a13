"""A barrier of processes in shared memory; a process that waits uses no core.

Each process writes only its own word: the number of barriers it has reached. The others
sleep on that word in the kernel (futex(2); Drepper, "Futexes are tricky", 2011).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dtrain.errors import RankLostError

LINE = 64  # bytes of a cache line: no two processes write to the same one
# The words of a process's line: its count of barriers, then two flags.
ASLEEP = 1  # it may be asleep
LEFT = 2  # it has left for good
SLICE = 0.01  # seconds of sleep between two checks that the awaited process is alive
SPINS = 1000  # reads of a word before sleeping, about 0.1 ms in all
YIELDS = 20  # the same where processes share cores: each read lets another one run

WAIT, WAKE = 0, 1  # without FUTEX_PRIVATE_FLAG: several processes share the word
SYSCALL = {"x86_64": 202, "aarch64": 98, "riscv64": 98}.get(platform.machine())
ALL = 2**31 - 1

X86 = platform.machine() == "x86_64"
UNUSED = ctypes.c_uint32()  # a word that no process sleeps on
LOCK = threading.Lock()

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.argtypes = (
    ctypes.c_long,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_uint32,
    ctypes.c_void_p,
)
libc.syscall.restype = ctypes.c_long


class Timespec(ctypes.Structure):
    """The kernel's struct timespec."""

    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def wait(address: int, value: int, seconds: float) -> None:
    """Sleep until woken or timed out, if the word at ``address`` is ``value``.

    It may also return early, so read the word again.
    """
    limit = Timespec(int(seconds), int(seconds % 1 * 1e9))
    call(address, WAIT, value, ctypes.byref(limit))


def wake(address: int) -> None:
    """Wake all processes that sleep on the word at ``address``."""
    call(address, WAKE, ALL, None)


def fence() -> None:
    """Order memory accesses: no load before an earlier store.

    Python has no memory fence. On x86, where only that order is not given, any atomic
    instruction is one, such as taking a lock; elsewhere, where this fence orders all
    accesses, FUTEX_WAKE begins with one in the kernel.
    """
    if X86:
        with LOCK:
            pass
    else:
        wake(ctypes.addressof(UNUSED))


def call(address: int, operation: int, value: int, limit: object) -> None:
    """Call futex(2).

    Raises:
        OSError: the kernel refuses it.

    """
    code = libc.syscall(SYSCALL or -1, address, operation, value, limit)
    expected = (errno.EAGAIN, errno.ETIMEDOUT, errno.EINTR)
    if code < 0 and (number := ctypes.get_errno()) not in expected:
        raise OSError(number, f"futex: {os.strerror(number)}")


class Barrier:
    """A point that no process passes before all have reached it.

    What a process writes to shared memory before the barrier, the others can read after
    it. The first to arrive polls for a short time and then sleeps; only processes that
    sleep cost the others a system call.

    Args:
        lines: zeroed shared memory, a cache line for each process.
        rank: the index of this process.
        spin: whether each process has a core; otherwise polling yields the core.
        check_alive: called repeatedly during ``wait`` with the index of the awaited
            process, to raise if it has ended. A waiting process checks others, too.

    """

    def __init__(
        self,
        lines: NDArray[np.uint8],
        rank: int,
        *,
        spin: bool,
        check_alive: Callable[[int], None],
    ) -> None:
        step = LINE // 4
        words = lines.data.cast("I")
        self._counts, self._asleep = words[::step], words[ASLEEP::step]
        self._left = words[LEFT::step]
        self._addresses = [lines.ctypes.data + at for at in range(0, lines.size, LINE)]
        self._rank = rank
        self._others = [other for other in range(len(self._counts)) if other != rank]
        self._spin = spin
        self._check_alive = check_alive

    def wait(self) -> None:
        """Return when all processes have called it as often as this one.

        Raises:
            RankLostError: a process that has not arrived has left, or knows of one that
                has.
            BaseException: from ``check_alive`` or a signal handler.

        """
        counts, asleep, rank = self._counts, self._asleep, self._rank
        before = counts[rank]
        if not X86:
            fence()
        counts[rank] = (before + 1) % 2**32
        # A process that is about to sleep sets its flag, then reads the count again, in
        # the kernel. This one has changed the count, then reads the flags. So at least
        # one of the two sees the other's write.
        fence()
        for other in self._others:
            if asleep[other]:
                wake(self._addresses[rank])
                break
        for other in self._others:
            # It is at most one barrier ahead, so any other count means it has arrived.
            if counts[other] == before and not self._poll(other, before):
                self._sleep(other, before)
        if not X86:
            fence()

    def _poll(self, other: int, before: int) -> bool:
        """Poll for some time; return whether another process has arrived."""
        counts = self._counts
        if self._spin:
            for _ in range(SPINS):
                if counts[other] != before:
                    return True
        else:
            for _ in range(YIELDS):
                os.sched_yield()
                if counts[other] != before:
                    return True
        return False

    def _sleep(self, other: int, before: int) -> None:
        """Sleep until another process has arrived."""
        self._asleep[self._rank] = 1
        try:
            while self._counts[other] == before:
                wait(self._addresses[other], before, SLICE)
                if self._counts[other] == before:
                    if any(self._left):
                        raise RankLostError("another rank has left the barrier")
                    self._check_alive(other)
        finally:
            self._asleep[self._rank] = 0

    def absent(self) -> list[int]:
        """Return the processes that have not reached the barrier this one waits at."""
        before = (self._counts[self._rank] - 1) % 2**32
        return [other for other in self._others if self._counts[other] == before]

    def leave(self) -> None:
        """Leave for good: all processes that wait raise a RankLostError."""
        self._left[self._rank] = 1
        for address in self._addresses:
            wake(address)
