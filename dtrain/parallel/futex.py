"""A barrier of processes in shared memory that costs a waiting process no core.

Each process writes only its own word: how many barriers it has reached. The others
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

LINE = 64  # bytes: no two processes write to one cache line
ASLEEP = 1  # which word of a process's line says that it may sleep; 0 is its count
LEFT = 2  # which word says that it has left for good
SLICE = 0.01  # seconds of sleep until it is looked after who is waited for
SPINS = 1000  # looks at a word before sleep, about 0.1 ms in all
YIELDS = 20  # the same where cores are shared: each look lets another process run

WAIT, WAKE = 0, 1  # without FUTEX_PRIVATE_FLAG: the word is other processes', too
SYSCALL = {"x86_64": 202, "aarch64": 98, "riscv64": 98}.get(platform.machine())
EVERYBODY = 2**31 - 1

X86 = platform.machine() == "x86_64"
NOBODY = ctypes.c_uint32()  # a word that nobody sleeps on
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
    """Seconds and nanoseconds, as the kernel reads them."""

    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def wait(address: int, value: int, seconds: float) -> None:
    """Sleep while the word at ``address`` is ``value``, until woken or time is up.

    It also ends for a signal, or for nothing: look at the word again.
    """
    limit = Timespec(int(seconds), int(seconds % 1 * 1e9))
    call(address, WAIT, value, ctypes.byref(limit))


def wake(address: int) -> None:
    """Wake all that sleep on the word at ``address``."""
    call(address, WAKE, EVERYBODY, None)


def fence() -> None:
    """Let no load pass an earlier store, nor on other processors than x86 anything.

    Python has no such barrier. On x86 each atomic instruction is one, and a lock is
    taken by one; elsewhere FUTEX_WAKE begins with one, in the kernel.
    """
    if X86:
        with LOCK:
            pass
    else:
        wake(ctypes.addressof(NOBODY))


def call(address: int, operation: int, value: int, limit: object) -> None:
    """Call futex(2).

    Raises:
        OSError: it cannot be used here.

    """
    code = libc.syscall(SYSCALL or -1, address, operation, value, limit)
    expected = (errno.EAGAIN, errno.ETIMEDOUT, errno.EINTR)
    if code < 0 and (number := ctypes.get_errno()) not in expected:
        raise OSError(number, f"futex: {os.strerror(number)}")


class Barrier:
    """A point that no process passes before all have reached it.

    What a process wrote to shared memory before, the others read after it. Who comes
    first looks for the others for a short time, and then sleeps; only those that sleep
    cost the others a call of the kernel.

    Args:
        lines: shared memory of zeros, a cache line for each process.
        rank: which of the processes this is.
        spin: whether there is a core for each; else looking on is left to the others.
        look_after: called now and then while ``wait`` lasts, with the process that is
            waited for, to raise what ends it. One that waits itself looks after others.

    """

    def __init__(
        self,
        lines: NDArray[np.uint8],
        rank: int,
        *,
        spin: bool,
        look_after: Callable[[int], None],
    ) -> None:
        step = LINE // 4
        words = lines.data.cast("I")
        self._counts, self._asleep = words[::step], words[ASLEEP::step]
        self._left = words[LEFT::step]
        self._addresses = [lines.ctypes.data + at for at in range(0, lines.size, LINE)]
        self._rank = rank
        self._others = [other for other in range(len(self._counts)) if other != rank]
        self._spin = spin
        self._look_after = look_after

    def wait(self) -> None:
        """Return when all processes have called it as often as this one.

        Raises:
            RankLostError: one that has not come has left, or knows of one that has.
            BaseException: what ``look_after`` or a signal's handler raises.

        """
        counts, asleep, rank = self._counts, self._asleep, self._rank
        before = counts[rank]
        if not X86:
            fence()
        counts[rank] = (before + 1) % 2**32
        # Who is about to sleep says so and then looks at the count once more, in the
        # kernel; this one has changed it and then looks who sleeps: one sees the other.
        fence()
        for other in self._others:
            if asleep[other]:
                wake(self._addresses[rank])
                break
        for other in self._others:
            # It is at most one ahead of this one, so it is there if it has moved on.
            if counts[other] == before and not self._seen(other, before):
                self._sleep(other, before)
        if not X86:
            fence()

    def _seen(self, other: int, before: int) -> bool:
        """Look for some time whether another process has come."""
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
        """Sleep until another process has come."""
        self._asleep[self._rank] = 1
        try:
            while self._counts[other] == before:
                wait(self._addresses[other], before, SLICE)
                if self._counts[other] == before:
                    if any(self._left):
                        raise RankLostError("another rank has left the barrier")
                    self._look_after(other)
        finally:
            self._asleep[self._rank] = 0

    def absent(self) -> list[int]:
        """Return the processes that have not reached the barrier this one waits at."""
        before = (self._counts[self._rank] - 1) % 2**32
        return [other for other in self._others if self._counts[other] == before]

    def leave(self) -> None:
        """Never come again, and release all that wait; they raise a RankLostError."""
        self._left[self._rank] = 1
        for address in self._addresses:
            wake(address)
