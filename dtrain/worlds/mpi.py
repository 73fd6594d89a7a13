"""The World whose ranks are processes under an MPI launcher.

It only sends buffers (mpi4py's upper-case calls), on duplicated communicators, in
messages whose length fits into the libraries' 32-bit counts.
"""

from __future__ import annotations

import atexit
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from dtrain.errors import RankLostError
from dtrain.reduction.communicator import Message
from dtrain.reduction.partition import groups_by_host, solo_groups
from dtrain.reduction.reduction import Reduction
from dtrain.worlds import mpi_library, ulfm
from dtrain.worlds.failure import Alarm
from dtrain.worlds.launcher import Launch, launched
from dtrain.worlds.verdict import agreed
from dtrain.worlds.watchdog import DEFAULT, Position, Watchdog
from dtrain.worlds.world import World, flat

T = TypeVar("T")

LONGEST = 1 << 30  # bytes of one message
NONE: tuple[list[Any], list[int], Sequence[Message]] = [], [], []


class MPIWorld(World):
    """All processes of MPI's COMM_WORLD, each of them one rank; collective.

    Args:
        longest: the most bytes of a message; longer buffers are sent in parts.
        shared: whether ranks of one host sum in shared memory if possible.
        timeout: abort after so many seconds without progress; 0 disables.

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
        watchdog = Watchdog(
            position, partial(mpi_library.end, self.fault_tolerant), timeout
        )
        with watchdog.watching("starting"):
            self._join(launch, watchdog, longest, shared=shared)

    def _join(
        self, launch: Launch | None, watchdog: Watchdog, longest: int, *, shared: bool
    ) -> None:
        self._mpi, library = mpi_library.start(launch, watchdog)
        comm_world = self._mpi.COMM_WORLD
        if launch:
            launch.check_size(comm_world.size, library)
        super().__init__(comm_world.rank, comm_world.size, library, watchdog)
        self.longest = longest
        self.fault_tolerant = ulfm.can_lose(launch, os.environ)
        self._shared = shared
        self._interrupted: list[object] = []  # buffers that MPI may still write to
        self._pending = NONE  # requests, the rank of each, the messages
        self._comm = comm_world.Dup()
        label = f"{self.host}:{self.rank}"
        # An object that outlives a world must not refer to it, or its memory is kept.
        announce = self._announce if self.fault_tolerant else None
        self._alarm = Alarm(comm_world.Dup(), label, announce)
        if self.fault_tolerant:
            atexit.register(self._leave_together)
            watchdog.keep()
        while not self.settled(self._learn_hosts()):
            pass
        if self.size > 1:
            self._alarm.guard()
            self._share_memory()

    def _learn_hosts(self) -> bool:
        """Gather the hosts of all ranks; return whether all have answered."""
        try:
            notes = self.allgather(self.host.encode())
        except RankLostError:
            return False
        self.hosts = [host.decode() for host in notes]
        return True

    def _share_memory(self) -> None:
        groups = groups_by_host(self.hosts) if self._shared else solo_groups(self.size)
        self._reduction = Reduction(groups)

    def swap(self, sends: Sequence[Message], receives: Sequence[Message]) -> None:
        """Send and receive all messages concurrently."""
        self.position.moves += 1
        requests: list[Any] = []
        ranks: list[int] = []
        self._pending = requests, ranks, receives or sends
        try:
            with self._detecting_losses():
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
                # Without statuses Open MPI 5.0.11 may report a failure as a success.
                statuses = [self._mpi.Status() for _ in requests if self.fault_tolerant]
                self._mpi.Request.Waitall(requests, statuses or None)
        except RankLostError:
            # Incomplete requests must not be tested again, but MPI may still write.
            self._interrupted.append((sends, receives, requests))
            raise
        finally:
            self._pending = NONE

    def _absent(self) -> list[int]:
        """Return the ranks of messages that are not complete, else of a barrier.

        Open MPI 5.0.11 reports a message as complete if another thread waits for it.
        Then the result is all ranks that this one receives from.
        """
        requests, ranks, messages = self._pending
        absent: set[int] = set()
        if self._mpi.Query_thread() == self._mpi.THREAD_MULTIPLE:
            pairs = zip(ranks, requests, strict=False)  # the rank may append to both
            absent = {rank for rank, request in pairs if not request.Get_status()}
        absent = absent or {rank for rank, _ in messages}
        return sorted(absent) or super()._absent()

    def _until_complete(self, requests: Sequence[Any]) -> None:
        """Wait for requests, but free none of them if a rank is lost.

        MPI's waiting calls would free them all, and Open MPI 5.0.11 ends the job when a
        message fails whose request is freed.
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
        """Copy the root's ``array``; by MPI's broadcast if no rank can be lost."""
        if self.fault_tolerant:
            super().broadcast(array, root)
            return
        self.position.moves += 1
        for part in self._parts(flat(array)):
            self._comm.Bcast(part, root=root)

    @contextmanager
    def _detecting_losses(self) -> Iterator[None]:
        """Raise a RankLostError if MPI reports that a rank is lost."""
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
        """Call ``work`` in this process; an error of this rank alone ends all ranks."""
        try:
            with self.watchdog.watching("working"):
                return work(self)
        except BaseException as error:
            if agreed(error):
                raise
            self.fail(error)

    def fail(self, error: BaseException) -> NoReturn:
        """Print the traceback with ``host:rank:`` before each line; end all ranks.

        If several ranks fail at once, only the first prints. The exit code is that of
        the error, 70 for errors that are not dtrain's.
        """
        if self.size == 1:
            raise error
        self._alarm.end_all(error)

    def settled(self, done: bool) -> bool:
        """Return whether all ranks are done; if not, continue without lost ranks.

        End this process if another rank has failed.
        """
        if not self.fault_tolerant:
            return done
        words = self._agree_on(ulfm.DONE if done else ulfm.NOT_DONE)
        if words:
            self._shrink()
        return not words

    def _agree_on(self, word: int) -> int:
        """Exchange words with all survivors; exit if one is a failing rank's exit code.

        Returns:
            All words, OR-ed.

        """
        if word:
            # Release ranks that wait for a message or in shared memory; they come, too.
            self._comm.Revoke()
            self._reduction.leave()
        self.position.moves += 1
        words = ulfm.agree(self._mpi, self._comm, word)
        if words & ulfm.CODE:
            ulfm.leave(words & ulfm.CODE)
        return words

    def _shrink(self) -> None:
        """Become the world of the survivors."""
        before = self._comm.group
        self._comm = self._comm.Shrink()
        self._alarm.comm = self._comm.Shrink()  # a copy, even if more ranks are lost
        survivors = self._comm.group.Translate_ranks(None, before)
        names = self.names
        self.lost += [names[i] for i in range(self.size) if i not in survivors]
        self.hosts = [self.hosts[i] for i in survivors]
        self.numbers = [self.numbers[i] for i in survivors]
        self.rank, self.size = self._comm.rank, self._comm.size
        self._share_memory()

    def _announce(self, code: int, first: bool) -> None:
        """Tell the survivors that this rank fails; exit with them."""
        ulfm.end_launcher_soon()
        self._agree_on(code if first else ulfm.NOT_DONE)

    def _leave_together(self) -> None:
        """Exit together with all ranks, so that a rank that fails late can report it.

        After a loss MPI_Finalize may wait for the lost rank for ever
        (open-mpi/ompi#11404), so fault-tolerant jobs exit without it.
        """
        if self._mpi.Is_finalized():
            return
        with self.watchdog.watching("leaving"):
            if self._agree_on(ulfm.DONE) & ulfm.NOT_DONE:
                # Another rank waits for an exchange that will not happen.
                self._shrink()
                self._agree_on(RankLostError.exit_code)
        atexit.unregister(mpi_library.finish)

    def leave(self, code: int) -> None:
        """End this process and the job, also where MPI tolerates lost ranks."""
        if self.fault_tolerant:
            self.abort(code)
        super().leave(code)

    def abort(self, code: int) -> None:
        """End all ranks; any thread may call it."""
        mpi_library.end(self.fault_tolerant, code)
