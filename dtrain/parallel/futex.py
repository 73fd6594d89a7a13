"""A barrier of processes in shared memory that costs a waiting process no core.

Each process writes only its own word: how many barriers it has reached. The others
sleep on that word in the kernel (futex(2); Drepper, "Futexes are tricky", 2011).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

LINE = 64  # bytes: no two processes write to one cache line
SLICE = 0.2  # seconds of sleep until the others are looked after
SPINS = 1000  # looks at a word before sleep, about 0.1 ms in all

WAIT, WAKE = 0, 1  # without FUTEX_PRIVATE_FLAG: the word is other processes', too
SYSCALL = {"x86_64": 202, "aarch64": 98, "riscv64": 98}.get(platform.machine())
EVERYBODY = 2**31 - 1

NOBODY = ctypes.c_uint32()  # a word that nobody sleeps on
REORDERS = platform.machine() != "x86_64"

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
    """Let no load or store pass, on processors that reorder more than x86 does.

    FUTEX_WAKE begins with a full memory barrier in the kernel, and Python has none.
    """
    if REORDERS:
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

    What a process wrote to shared memory before, the others read after it.

    Args:
        lines: shared memory of zeros, a cache line for each process.
        rank: which of the processes this is.
        spin: whether to look some time before sleeping: only with a core for each.
        look_after: called now and then while ``wait`` lasts, to raise what ends it.

    """

    def __init__(
        self,
        lines: NDArray[np.uint8],
        rank: int,
        *,
        spin: bool,
        look_after: Callable[[], None],
    ) -> None:
        step = LINE // 4
        self._words = lines.data.cast("I")[::step]
        self._addresses = [lines.ctypes.data + at for at in range(0, lines.size, LINE)]
        self._rank = rank
        self._others = [other for other in range(len(self._words)) if other != rank]
        self._spins = SPINS if spin else 0
        self._look_after = look_after

    def wait(self) -> None:
        """Return when all processes have called it as often as this one.

        Raises:
            BaseException: what ``look_after`` or a signal's handler raises.

        """
        words, rank = self._words, self._rank
        before = words[rank]
        fence()
        words[rank] = (before + 1) % 2**32
        wake(self._addresses[rank])
        for other in self._others:
            # It is at most one ahead of this one, so it is there if it has moved on.
            for _ in range(self._spins):
                if words[other] != before:
                    break
            while words[other] == before:
                wait(self._addresses[other], before, SLICE)
                if words[other] == before:
                    self._look_after()
        fence()
