"""The World whose ranks are processes under an MPI launcher.

Buffers only (upper-case calls), on communicators of our own, in messages that no
library's 32-bit counts can overflow. The one place that imports mpi4py.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from dtrain.parallel.failure import Alarm
from dtrain.parallel.launcher import Launch, launched
from dtrain.parallel.memory import by_host
from dtrain.parallel.peers import Message
from dtrain.parallel.reduction import Reduction
from dtrain.parallel.verdict import agreed
from dtrain.parallel.watchdog import DEFAULT, Place, Watchdog
from dtrain.parallel.world import World, flat

T = TypeVar("T")

LONGEST = 1 << 30  # bytes of one message
PAUSE = 0.002  # seconds between two looks at whether all ranks are leaving


class MPIWorld(World):
    """All processes of MPI's COMM_WORLD, each of them one rank; collective.

    Args:
        longest: a message has at most so many bytes; longer buffers are sent in parts.
        shared: whether ranks of one host sum through shared memory where they can.
        timeout: seconds without progress that end all ranks; 0 is never.

    Raises:
        LaunchError: MPI cannot be loaded, or has not connected the ranks that the
            launcher started.

    """

    def __init__(
        self, longest: int = LONGEST, *, shared: bool = True, timeout: float = DEFAULT
    ) -> None:
        launch = launched()
        self._mpi: Any = None
        place = Place(f"{socket.gethostname()}:{launch.rank if launch else 0}")
        watchdog = Watchdog(place, self.abort, timeout)
        with watchdog.watching("starting"):
            self._join(launch, watchdog, longest, shared=shared)

    def _join(
        self, launch: Launch | None, watchdog: Watchdog, longest: int, *, shared: bool
    ) -> None:
        self._mpi, library = start(launch, watchdog)
        everybody = self._mpi.COMM_WORLD
        if launch:
            launch.check_size(everybody.size, library)
        super().__init__(everybody.rank, everybody.size, library, watchdog)
        self.longest = longest
        self._comm = everybody.Dup()
        self._alarm = Alarm(everybody.Dup(), f"{self.host}:{self.rank}")
        self.hosts = [host.decode() for host in self.allgather(self.host.encode())]
        if self.size > 1:
            self._alarm.guard()
            if shared:
                self._reduction = Reduction(by_host(self.hosts))

    def swap(self, sends: Sequence[Message], receives: Sequence[Message]) -> None:
        """Send and receive all at once, none waiting for another."""
        self.place.moves += 1
        requests = [
            self._comm.Irecv(part, source=rank)
            for rank, buffer in receives
            for part in self._parts(buffer)
        ]
        requests += [
            self._comm.Isend(part, dest=rank)
            for rank, buffer in sends
            for part in self._parts(buffer)
        ]
        self._mpi.Request.Waitall(requests)

    def broadcast(self, array: NDArray[Any], root: int = 0) -> None:
        """Fill ``array`` with the root's, by MPI's own tree."""
        self.place.moves += 1
        for part in self._parts(flat(array)):
            self._comm.Bcast(part, root=root)

    def _parts(self, buffer: NDArray[Any]) -> Iterator[NDArray[np.uint8]]:
        data = buffer.view(np.uint8)
        for start in range(0, data.size, self.longest):
            yield data[start : start + self.longest]

    def run(self, work: Callable[[World], T]) -> T:
        """Call ``work`` in this process; what only this rank raises ends all ranks."""
        try:
            with self.watchdog.watching("working"):
                return work(self)
        except BaseException as error:
            if agreed(error):
                raise
            self.fail(error)

    def fail(self, error: BaseException) -> NoReturn:
        """Publish the traceback as ``host:rank: ...`` and end all ranks.

        Of several ranks that fail together only the first is heard. The exit code is
        the error's, 70 for one that is not dtrain's.
        """
        if self.size == 1:
            raise error
        self._alarm.end_all(error)

    def abort(self, code: int) -> None:
        """End all ranks; any thread may call it, also while MPI starts or ends."""
        if self._mpi and self._mpi.Is_initialized() and not self._mpi.Is_finalized():
            self._mpi.COMM_WORLD.Abort(code)
        os._exit(code)


def load() -> tuple[Any, str]:
    """Load MPI, and do not start it; give the module and the library's name.

    Raises:
        ImportError, RuntimeError: there is none, or none that fits.

    """
    import mpi4py

    mpi4py.rc.initialize = False  # a library may abort in MPI_Init: look at it first
    from mpi4py import MPI

    vendor, version = MPI.get_vendor()
    return MPI, f"{vendor} {'.'.join(map(str, version))}"


def start(launch: Launch | None, watchdog: Watchdog) -> tuple[Any, str]:
    """Load MPI and start it, if nobody has; give the module and the library's name."""
    try:
        MPI, library = load()
    except (ImportError, RuntimeError) as reason:
        launch = launch or Launch("MPIWorld()", None, 0)
        raise launch.no_library(reason) from None
    if not MPI.Is_initialized():
        if launch:
            launch.check_library(library)
        # The warning that is not wanted is mpi4py's guess at what is checked here.
        with watchdog.without_python(), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            MPI.Init_thread()
        atexit.register(finish, MPI, watchdog)
    return MPI, library


def finish(mpi: Any, watchdog: Watchdog) -> None:
    """End MPI with the process, as mpi4py does where it has started MPI itself."""
    if mpi.Is_finalized():
        return
    with watchdog.watching("leaving"):
        everybody = mpi.COMM_WORLD.Ibarrier()
        while not everybody.Test():
            time.sleep(PAUSE)
    # Where the launcher is gone this fails, but the work is done.
    with watchdog.without_python(), contextlib.suppress(mpi.Exception):
        mpi.Finalize()
