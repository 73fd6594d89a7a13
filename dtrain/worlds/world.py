"""A World is the ranks that train together: they sum records, and they decide as one.

Everything a World does is written here once, on top of one primitive, ``swap``. It
knows arrays and bytes, no graphs. Each method but ``fail`` is collective: all ranks
call it, in the same order.
"""

from __future__ import annotations

import contextvars
import os
import socket
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from dtrain.reduction.exchange import Total
from dtrain.reduction.memory import alone
from dtrain.reduction.partition import Groups
from dtrain.reduction.peers import Message, Scale
from dtrain.reduction.reduction import Reduction
from dtrain.reduction.tree import Record
from dtrain.worlds import verdict
from dtrain.worlds.meeting import Meeting, root_cause
from dtrain.worlds.watchdog import Position, Watchdog

T = TypeVar("T")


def as_it_is(slots: NDArray[Any], tail: NDArray[np.float64]) -> None:
    """Leave a sum unscaled."""


class World(ABC):
    """The ranks of one training, seen from one of them.

    Attributes:
        rank: this one's number, 0 to size-1.
        size: how many ranks there are.
        host: the name of the machine that this rank runs on.
        hosts: the same for each rank.
        numbers: by what each rank was started, and is called whoever is lost.
        mpi: the MPI library and its version, ``None`` without MPI.
        exchanges: how many reductions this rank has taken part in.
        fault_tolerant: whether the others can go on when a rank is lost. A collective
            call then raises a RankLostError; ``settled`` is what to call next.
        lost: the ranks that this world goes on without, as they were called.
        position: how far this rank has come, for its watchdog.
        watchdog: what ends all ranks when this one stands still for too long.

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
        self._reduction = Reduction(alone(size))

    @property
    def names(self) -> list[str]:
        """What each rank is called in a message."""
        pairs = zip(self.numbers, self.hosts, strict=True)
        return [f"rank {number} on {host}" for number, host in pairs]

    def awaited(self) -> list[str]:
        """Name the ranks that this one waits for; any thread may call it."""
        return [self.names[rank] for rank in self._absent()]

    def _absent(self) -> list[int]:
        return self._reduction.absent()

    @abstractmethod
    def swap(self, sends: Sequence[Message], receives: Sequence[Message]) -> None:
        """Send buffers to, and fill buffers from, other ranks.

        A message is the other's rank and a contiguous 1-D array. The messages from one
        rank to another arrive in the order sent, into buffers of the same byte length;
        a message of no bytes is not sent.
        """

    @abstractmethod
    def run(self, work: Callable[[World], T]) -> T:
        """Call ``work(world)`` on each rank of this world that lives in this process.

        Returns rank 0's result, or this rank's own where each has a process.
        """

    def fail(self, error: BaseException) -> NoReturn:
        """End all ranks because of an error that this rank alone has."""
        raise error

    def settled(self, done: bool) -> bool:
        """Tell whether all ranks are done; if not, the world goes on without the lost.

        The answer is the same on every rank that lives, whoever is lost meanwhile. If
        it is no, this world has other ranks, numbers, hosts and memory from now on:
        what was bound to those, and the work, is to be done again.

        Args:
            done: false after a RankLostError.

        """
        return done

    def abort(self, code: int) -> None:
        """End all ranks at once, with an exit code; any thread may call it."""
        os._exit(code)

    def leave(self, code: int) -> None:
        """End this process, and with it the job, as a launcher sees to it."""
        os._exit(code)

    def tree_sum(
        self,
        count: int,
        partials: Iterable[Record],
        total: Total,
        flags: int = 0,
        scale: Scale = as_it_is,
    ) -> int:
        """Sum the blocks' records of all ranks, in an order that only count fixes.

        Whether a sum may overflow is for the caller to say, by ``np.errstate``.

        Args:
            count: how many blocks all ranks have together; with 0 the sum is zeros.
            partials: one record for each block that ``blocks.share`` gives this rank,
                or for a subtree of several, ascending; asked for one by one, and read
                before the next is asked for.
            total: receives the sum, on every rank: in its own slots, or in memory that
                the ranks share, which may be read until the next sum.
            flags: this rank's flag word, 63 bits.
            scale: called as ``scale(slots, tail)`` on parts of the summed slots, each
                on one rank, when the tail is summed: to change the numbers in place,
                each by itself, before all ranks read them.

        Returns:
            All ranks' flag words, OR-ed.

        Raises:
            ValueError: the partials are not those of the blocks that this rank owns.

        Source: design §5, rule 3.

        """
        self.exchanges += 1
        self.position.moves += 1
        return self._reduction.run(self, count, partials, total, flags, scale)

    def rows(self, count: int, total: Total) -> Mapping[int, Record]:
        """Give memory where partials of the next sum may be made, to save a copy.

        One record, as long as ``total``, for each of the largest subtrees that this
        rank owns, by its first block. What begins a subtree is not copied if its slots
        and tail are its record's.
        """
        return self._reduction.rows(self, count, total)

    @property
    def groups(self) -> Groups:
        """The ranks that sum through memory they share; each alone that has none."""
        return self._reduction.groups

    def broadcast(self, array: NDArray[Any], root: int = 0) -> None:
        """Fill ``array`` (contiguous, of one shape on all ranks) with the root's.

        In each round all that have it send it on, so there are log2 of size rounds.
        """
        buffer, size = flat(array), self.size
        place = (self.rank - root) % size
        for have in (1 << i for i in range((size - 1).bit_length())):
            gives, gets = place < min(have, size - have), have <= place < 2 * have
            self.swap(
                [((self.rank + have) % size, buffer)] if gives else [],
                [((self.rank - have) % size, buffer)] if gets else [],
            )

    def allgather(self, data: bytes) -> list[bytes]:
        """Each rank's bytes, on every rank; lengths may differ. For small messages."""
        lengths = self._gathered(np.array([len(data)]), [1] * self.size)
        joined = self._gathered(np.frombuffer(data, np.uint8), lengths.tolist())
        texts = [text.tobytes() for text in np.split(joined, np.cumsum(lengths)[:-1])]
        return texts[self.size - self.rank :] + texts[: self.size - self.rank]

    def _gathered(self, own: NDArray[Any], lengths: Sequence[int]) -> NDArray[Any]:
        """Join all ranks' arrays, this one's first, then those of the ranks after it.

        Each round doubles what a rank has, so there are ⌈log₂ size⌉ (Bruck et al.,
        "Efficient algorithms for all-to-all communications", 1997, section 4).

        Args:
            own: this rank's array.
            lengths: those of all ranks' arrays, in the same order.

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

        Returns the whole on rank 0, ``None`` elsewhere.
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
        """If any rank brings an error, raise the lowest such rank's on every rank.

        That rank raises its own object, the others one of the same class where it is
        a DtrainError, else a RankError that carries the traceback. Each has ``agreed``
        set, and ``rank``.
        """
        for rank, data in enumerate(self.allgather(verdict.encode(error))):
            if not data:
                continue
            if error is None or rank != self.rank:
                error = verdict.decode(data, self.names[rank])
            raise verdict.mark_agreed(error, self.numbers[rank])

    def compare(self, what: str, digest: str) -> None:
        """Raise an agreed MismatchError unless all ranks have the same digest.

        Its message says of what, and which ranks on which hosts differ from most.
        """
        digests = [data.decode() for data in self.allgather(digest.encode())]
        error = verdict.mismatch(what, digests, self.names)
        if error:
            raise error


def flat(array: NDArray[Any]) -> NDArray[Any]:
    """View the same memory as 1-D array."""
    if not array.flags.c_contiguous:
        raise ValueError("only contiguous arrays can be sent and received")
    return array.reshape(-1)


class SoloWorld(World):
    """One rank in one process: nothing to exchange, nobody to agree with."""

    def __init__(self) -> None:
        super().__init__(rank=0, size=1)

    def swap(self, sends: Sequence[Message], receives: Sequence[Message]) -> None:
        """There is nobody to swap with."""

    def run(self, work: Callable[[World], T]) -> T:
        """Call ``work`` with this world."""
        with self.watchdog.watching("working"):
            return work(self)


class ThreadWorld(World):
    """``size`` ranks in one process; ``run`` starts them, each with its own World."""

    def __init__(self, size: int, *, rank: int = 0, meeting: Meeting | None = None):
        if size < 1:
            raise ValueError(f"a world needs at least one rank, not {size}")
        super().__init__(rank, size)
        self._meeting = meeting

    def _absent(self) -> list[int]:
        return self._meeting.absent() if self._meeting else []

    def swap(self, sends: Sequence[Message], receives: Sequence[Message]) -> None:
        """Read the others' buffers where they are."""
        if self._meeting is None:
            raise RuntimeError("the ranks of a ThreadWorld exist only inside its run()")
        self.position.moves += 1
        posts = self._meeting.posts
        posts[self.rank] = sends
        self._meeting.wait(self.rank)
        boxes = {rank: iter(posts[rank]) for rank, _ in receives}
        for rank, buffer in receives:
            sent = next(box for to, box in boxes[rank] if to == self.rank)
            np.copyto(buffer.view(np.uint8), sent.view(np.uint8))
        self._meeting.wait(self.rank)

    def run(self, work: Callable[[World], T]) -> T:
        """Call ``work`` on each rank, rank 0 in this thread; return rank 0's result.

        Raises:
            BaseException: the first that a rank raised, with that rank in a note and,
                if it is a DtrainError, as ``rank``.
            DtrainError: a rank returned while another waited for it.

        """
        meeting = Meeting(self.size)
        results: list[T] = []

        def rank_main(rank: int) -> None:
            error: BaseException | None = None
            try:
                world = ThreadWorld(self.size, rank=rank, meeting=meeting)
                with world.watchdog.watching("working"):
                    result = work(world)
                if rank == 0:
                    results.append(result)
            except BaseException as raised:
                error = raised
            meeting.leave(rank, error)

        threads = [
            # np.errstate and the like are the caller's, as they would be in rank 0
            threading.Thread(
                target=contextvars.copy_context().run,
                args=(rank_main, rank),
                name=f"rank {rank}",
                daemon=True,
            )
            for rank in range(1, self.size)
        ]
        for thread in threads:
            thread.start()
        rank_main(0)
        for thread in threads:
            thread.join()
        if meeting.errors:
            raise root_cause(meeting.errors, self.size)
        return results[0]
