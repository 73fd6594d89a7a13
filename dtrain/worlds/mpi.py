"""The World whose ranks are processes under an MPI launcher.

Buffers only (upper-case calls), on communicators of our own, in messages that no
library's 32-bit counts can overflow. The one place that imports mpi4py.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from dtrain.errors import RankLostError
from dtrain.reduction.memory import alone, by_host
from dtrain.reduction.peers import Message
from dtrain.reduction.reduction import Reduction
from dtrain.worlds import ulfm
from dtrain.worlds.failure import Alarm
from dtrain.worlds.launcher import Launch, launched
from dtrain.worlds.verdict import agreed
from dtrain.worlds.watchdog import DEFAULT, Position, Watchdog
from dtrain.worlds.world import World, flat

T = TypeVar("T")

LONGEST = 1 << 30  # bytes of one message
NOTHING: tuple[list[Any], list[int], Sequence[Message]] = [], [], []  # is pending
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
        self.fault_tolerant = ulfm.can_lose(launch, os.environ)
        position = Position(f"{socket.gethostname()}:{launch.rank if launch else 0}")
        watchdog = Watchdog(position, partial(end, self.fault_tolerant), timeout)
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
        self.fault_tolerant = ulfm.can_lose(launch, os.environ)
        self._shared = shared
        self._touched: list[object] = []
        self._pending = NOTHING
        self._comm = everybody.Dup()
        label = f"{self.host}:{self.rank}"
        # Nothing that outlives a world may hold it, or it would keep its memory.
        announce = self._announce if self.fault_tolerant else None
        self._alarm = Alarm(everybody.Dup(), label, announce)
        if self.fault_tolerant:
            atexit.register(self._part)
            watchdog.keep()
        while not self.settled(self._learn_hosts()):
            pass
        if self.size > 1:
            self._alarm.guard()
            self._share_memory()

    def _learn_hosts(self) -> bool:
        """Ask all ranks for their hosts; tell whether all have answered."""
        try:
            notes = self.allgather(self.host.encode())
        except RankLostError:
            return False
        self.hosts = [host.decode() for host in notes]
        return True

    def _share_memory(self) -> None:
        groups = by_host(self.hosts) if self._shared else alone(self.size)
        self._reduction = Reduction(groups)

    def swap(self, sends: Sequence[Message], receives: Sequence[Message]) -> None:
        """Send and receive all at once, none waiting for another."""
        self.position.moves += 1
        requests: list[Any] = []
        ranks: list[int] = []
        self._pending = requests, ranks, receives or sends
        try:
            with self._noticing_losses():
                for rank, buffer in receives:
                    for part in self._parts(buffer):
                        requests.append(self._comm.Irecv(part, source=rank))
                        ranks.append(rank)
                for rank, buffer in sends:
                    for part in self._parts(buffer):
                        requests.append(self._comm.Isend(part, dest=rank))
                        ranks.append(rank)
                if self.fault_tolerant:
                    self._until_complete(requests)
                # Without statuses Open MPI 5.0.11 may call what has failed a success.
                statuses = [self._mpi.Status() for _ in requests if self.fault_tolerant]
                self._mpi.Request.Waitall(requests, statuses or None)
        except RankLostError:
            # What is not complete is no longer to be asked for, but MPI may write yet.
            self._touched.append((sends, receives, requests))
            raise
        finally:
            self._pending = NOTHING

    def _absent(self) -> list[int]:
        """Return the ranks of messages that are not complete, else of a barrier.

        Open MPI 5.0.11 calls each message complete that another thread waits for. Then
        the answer is all ranks that this one receives from.
        """
        requests, ranks, messages = self._pending
        absent: set[int] = set()
        if self._mpi.Query_thread() == self._mpi.THREAD_MULTIPLE:
            pairs = zip(ranks, requests, strict=False)  # the rank may append to both
            absent = {rank for rank, request in pairs if not request.Get_status()}
        absent = absent or {rank for rank, _ in messages}
        return sorted(absent) or super()._absent()

    def _until_complete(self, requests: Sequence[Any]) -> None:
        """Wait for requests, and free none of them if a rank is lost.

        A call that waits would free them all, and Open MPI 5.0.11 ends the job when it
        finds later that a message was sent in vain whose request is gone.
        """
        comm, pending = self._comm, requests
        while True:
            pending = [request for request in pending if not request.Get_status()]
            if comm.Is_revoked() or comm.Get_failed().size:
                raise RankLostError("a rank is lost")
            if not pending:
                return
            os.sched_yield()

    def broadcast(self, array: NDArray[Any], root: int = 0) -> None:
        """Fill ``array`` with the root's, by MPI's own tree where none can be lost."""
        if self.fault_tolerant:
            super().broadcast(array, root)
            return
        self.position.moves += 1
        for part in self._parts(flat(array)):
            self._comm.Bcast(part, root=root)

    @contextmanager
    def _noticing_losses(self) -> Iterator[None]:
        """Raise a RankLostError for what MPI says of a rank that is lost."""
        try:
            yield
        except self._mpi.Exception as error:
            if self.fault_tolerant and ulfm.interrupted(self._mpi, self._comm, error):
                raise RankLostError(f"a rank is lost: {error}") from None
            raise

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

    def settled(self, done: bool) -> bool:
        """Tell whether all ranks are done; if not, go on without those that are lost.

        Ends the process if another rank has failed alone.
        """
        if not self.fault_tolerant:
            return done
        heard = self._say(ulfm.DONE if done else ulfm.GO_ON)
        if heard:
            self._shrink()
        return not heard

    def _say(self, word: int) -> int:
        """Say a word and hear all; leave if that is the exit code of one that fails."""
        if word:
            self._comm.Revoke()  # whoever waits for a message gives up, and comes, too,
            self._reduction.leave()  # as who waits in memory does
        self.position.moves += 1
        heard = ulfm.say(self._mpi, self._comm, word)
        if heard & ulfm.CODE:
            ulfm.leave(heard & ulfm.CODE)
        return heard

    def _shrink(self) -> None:
        """Become the world of the ranks that live."""
        before = self._comm.group
        self._comm = self._comm.Shrink()
        self._alarm.comm = self._comm.Shrink()  # a copy, whoever dies meanwhile
        there = self._comm.group.Translate_ranks(None, before)
        names = self.names
        self.lost += [names[i] for i in range(self.size) if i not in there]
        self.hosts = [self.hosts[i] for i in there]
        self.numbers = [self.numbers[i] for i in there]
        self.rank, self.size = self._comm.rank, self._comm.size
        self._share_memory()

    def _announce(self, code: int, first: bool) -> None:
        """Tell all that live that this rank fails; leave with them."""
        ulfm.end_launcher_soon()
        self._say(code if first else ulfm.GO_ON)

    def _part(self) -> None:
        """Leave together with all others, so that one that fails late is still heard.

        A job that may lose ranks may end without MPI_Finalize, which would wait for
        ever, now and then, for one that is lost (open-mpi/ompi#11404).
        """
        if self._mpi.Is_finalized():
            return
        with self.watchdog.watching("leaving"):
            if self._say(ulfm.DONE) & ulfm.GO_ON:
                # Somebody waits for what will not happen.
                self._shrink()
                self._say(RankLostError.exit_code)
        atexit.unregister(finish)

    def leave(self, code: int) -> None:
        """End this process and the job; where ranks may be lost, MPI misses nobody."""
        if self.fault_tolerant:
            self.abort(code)
        super().leave(code)

    def abort(self, code: int) -> None:
        """End all ranks; any thread may call it."""
        end(self.fault_tolerant, code)


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
        watchdog.keep()
    return MPI, library


def end(fault_tolerant: bool, code: int) -> NoReturn:
    """End all ranks, also while MPI starts or ends."""
    mpi = sys.modules.get("mpi4py.MPI")
    if fault_tolerant:
        ulfm.end_launcher()
    elif mpi and mpi.Is_initialized() and not mpi.Is_finalized():
        mpi.COMM_WORLD.Abort(code)
    os._exit(code)


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
