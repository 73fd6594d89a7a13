"""A World: the ranks that train together, their sums, messages and common decisions.

All collective operations are built on one primitive, ``swap``. A World knows arrays and
bytes, but no graphs.
"""

from __future__ import annotations

import os
import socket
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from dtrain.reduction.communicator import Message, Scale
from dtrain.reduction.partition import Groups, solo_groups
from dtrain.reduction.reduction import Reduction
from dtrain.reduction.tree import PartialSum, Total
from dtrain.worlds import verdict
from dtrain.worlds.watchdog import Position, Watchdog

T = TypeVar("T")


def unscaled(slots: NDArray[Any], tail: NDArray[np.float64]) -> None:
    """Do not scale a sum."""


class World(ABC):
    """The ranks that train together, seen from one of them.

    All ranks call a collective method, in the same order; each method whose docstring
    does not say otherwise is collective.

    Attributes:
        rank: the number of this rank, 0 to size-1.
        size: the number of ranks.
        host: the name of this rank's machine.
        hosts: the same for each rank.
        numbers: each rank's original number, stable in messages after ranks are lost.
        mpi: the MPI library and its version, ``None`` without MPI.
        exchanges: the number of sums that this rank has taken part in.
        fault_tolerant: whether the survivors can continue when a rank is lost. A
            collective call then raises a RankLostError; call ``settled`` next.
        lost: the names of the ranks that were lost.
        position: how far this rank has come, for its watchdog.
        watchdog: ends all ranks when this one makes no progress for too long.

    """

    def __init__(
        self,
        rank: int,
        size: int,
        mpi: str | None = None,
        watchdog: Watchdog | None = None,
    ) -> None:
        self.rank = rank
        self.size = size
        self.mpi = mpi
        self.host = socket.gethostname()
        self.hosts = [self.host] * size
        self.numbers = list(range(size))
        self.exchanges = 0
        self.fault_tolerant = False
        self.lost: list[str] = []
        position = Position(f"{self.host}:{rank}")
        self.watchdog = watchdog or Watchdog(position, self.abort)
        self.position = self.watchdog.position
        awaited = weakref.WeakMethod(self.awaited)  # the watchdog may outlive a world
        self.watchdog.awaited = lambda: found() if (found := awaited()) else ()
        self._reduction = Reduction(solo_groups(size))

    @property
    def names(self) -> list[str]:
        """The name of each rank in messages; not collective."""
        pairs = zip(self.numbers, self.hosts, strict=True)
        return [f"rank {number} on {host}" for number, host in pairs]

    def awaited(self) -> list[str]:
        """Return the names of the ranks that this one waits for.

        Any thread may call it; not collective.
        """
        return [self.names[rank] for rank in self._absent()]

    def _absent(self) -> list[int]:
        return self._reduction.absent()

    @abstractmethod
    def swap(self, sends: Sequence[Message], receives: Sequence[Message]) -> None:
        """Send buffers to other ranks, and receive buffers from them.

        A message is the other rank and a contiguous 1-D array. Messages from one rank
        to another arrive in the order sent, in buffers of the same number of bytes.
        Empty messages are not sent.
        """

    @abstractmethod
    def run(self, work: Callable[[World], T]) -> T:
        """Call ``work(world)`` on each rank of this world that is in this process.

        Returns:
            This rank's result; where ranks are threads, rank 0's.

        """

    def fail(self, error: BaseException) -> NoReturn:
        """End all ranks because of an error on this rank; not collective."""
        raise error

    def settled(self, done: bool) -> bool:
        """Return whether all ranks are done; if not, continue without lost ranks.

        All survivors return the same, even if more ranks are lost meanwhile. If it is
        false, this world has new ranks, numbers, hosts and memory: whatever depends on
        them, and the work, must be done again.

        Args:
            done: false after a RankLostError.

        """
        return done

    def abort(self, code: int) -> None:
        """End all ranks at once with an exit code.

        Any thread may call it; not collective.
        """
        os._exit(code)

    def leave(self, code: int) -> None:
        """End this process; the launcher then ends the job. Not collective."""
        os._exit(code)

    def tree_sum(
        self,
        count: int,
        partials: Iterable[PartialSum],
        total: Total,
        flags: int = 0,
        scale: Scale = unscaled,
    ) -> int:
        """Sum over all blocks of all ranks, in an order that depends on count alone.

        Floating-point errors are the caller's choice, by ``np.errstate``.

        Args:
            count: the number of blocks of all ranks; if 0, the sum is zeros.
            partials: this rank's partial sums, ascending, each for one of the blocks
                that ``blocks.share`` gives this rank, or for a subtree of them. Each is
                read before the next one is taken, so they may share memory.
            total: receives the sum on every rank: in its slots, or in memory that
                the ranks share, valid until the next sum.
            flags: this rank's flag word, 63 bits.
            scale: called as ``scale(slots, tail)`` after the tail is summed, on parts
                of the summed slots, each on one rank; to scale them elementwise in
                place before all ranks read them.

        Returns:
            All ranks' flag words, OR-ed.

        Raises:
            ValueError: the partial sums are not those of this rank's blocks.

        """
        self.exchanges += 1
        self.position.moves += 1
        return self._reduction.run(self, count, partials, total, flags, scale)

    def rows(self, count: int, total: Total) -> Mapping[int, PartialSum]:
        """Return memory for partial sums of the next sum, which saves a copy.

        Returns:
            For each of the largest subtrees of this rank, by its first block, a partial
            sum of ``total``'s size. The first partial sum of a subtree is not copied if
            it has the slots and tail of that row.

        """
        return self._reduction.rows(self, count, total)

    @property
    def groups(self) -> Groups:
        """The ranks that share memory; a rank that shares with no other is a group."""
        return self._reduction.groups

    def broadcast(self, array: NDArray[Any], root: int = 0) -> None:
        """Copy the root's ``array`` (contiguous, same shape on all ranks) to all ranks.

        In each round all ranks that have it send it, so there are log2(size) rounds.
        """
        buffer, size = flat(array), self.size
        index = (self.rank - root) % size
        for have in (1 << i for i in range((size - 1).bit_length())):
            sends, receives = index < min(have, size - have), have <= index < 2 * have
            self.swap(
                [((self.rank + have) % size, buffer)] if sends else [],
                [((self.rank - have) % size, buffer)] if receives else [],
            )

    def allgather(self, data: bytes) -> list[bytes]:
        """Return each rank's bytes on every rank.

        Lengths may differ. Use it for short messages.
        """
        lengths = self._gathered(np.array([len(data)]), [1] * self.size)
        joined = self._gathered(np.frombuffer(data, np.uint8), lengths.tolist())
        texts = [text.tobytes() for text in np.split(joined, np.cumsum(lengths)[:-1])]
        return texts[self.size - self.rank :] + texts[: self.size - self.rank]

    def _gathered(self, own: NDArray[Any], lengths: Sequence[int]) -> NDArray[Any]:
        """Join all ranks' arrays, starting with this rank's, in cyclic rank order.

        Each round doubles what a rank has, so there are ⌈log₂ size⌉ rounds (Bruck et
        al., "Efficient algorithms for all-to-all communications", 1997, section 4).

        Args:
            own: this rank's array.
            lengths: the lengths of all ranks' arrays, in the same order.

        """
        ends = [0, *accumulate(lengths)]
        joined = np.empty(ends[-1], own.dtype)
        joined[: own.size] = own
        have = 1
        while have < self.size:
            more = min(have, self.size - have)
            to, source = (self.rank - have) % self.size, (self.rank + have) % self.size
            there = slice(ends[have], ends[have + more])
            self.swap([(to, joined[: ends[more]])], [(source, joined[there])])
            have += more
        return joined

    def gather_rows(self, rows: NDArray[Any]) -> NDArray[Any] | None:
        """Concatenate arrays of shape (any, ...) along axis 0, in rank order.

        Returns:
            The concatenated array on rank 0, ``None`` on other ranks.

        """
        rows = np.ascontiguousarray(rows)
        counts = [int(data) for data in self.allgather(b"%d" % len(rows))]
        if self.rank:
            self.swap([(0, flat(rows))], [])
            return None
        whole = np.empty((sum(counts), *rows.shape[1:]), rows.dtype)
        parts = np.split(whole, np.cumsum(counts)[:-1])
        parts[0][...] = rows
        self.swap([], [(rank, flat(parts[rank])) for rank in range(1, self.size)])
        return whole

    def agree(self, error: BaseException | None) -> None:
        """Raise an error on every rank if any rank passes one: that of the lowest rank.

        That rank raises its own object. The others raise a DtrainError of the same
        class, or for other classes a RankError with the traceback. Each has the
        attributes ``agreed`` (true) and ``rank``.
        """
        for rank, data in enumerate(self.allgather(verdict.encode(error))):
            if not data:
                continue
            if error is None or rank != self.rank:
                error = verdict.decode(data, self.names[rank])
            raise verdict.mark_agreed(error, self.numbers[rank])

    def compare(self, what: str, digest: str) -> None:
        """Check that all ranks have the same digest or text.

        Args:
            what: its name in the message.
            digest: this rank's.

        Raises:
            MismatchError: on every rank, naming the ranks and hosts that differ from
                the majority.

        """
        digests = [data.decode() for data in self.allgather(digest.encode())]
        error = verdict.mismatch(what, digests, self.names)
        if error:
            raise error


def flat(array: NDArray[Any]) -> NDArray[Any]:
    """Return a 1-D view of a contiguous array."""
    if not array.flags.c_contiguous:
        raise ValueError("only contiguous arrays can be sent and received")
    return array.reshape(-1)
