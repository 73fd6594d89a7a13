"""Worlds inside one process: of one rank, or of threads that act as ranks."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from dtrain.errors import DtrainError
from dtrain.reduction.communicator import Message
from dtrain.worlds import verdict
from dtrain.worlds.world import World

T = TypeVar("T")


class SoloWorld(World):
    """One rank in one process.

    Example:
        >>> SoloWorld().run(lambda world: (world.rank, world.size))
        (0, 1)
    """

    def __init__(self) -> None:
        super().__init__(rank=0, size=1)

    def swap(self, sends: Sequence[Message], receives: Sequence[Message]) -> None:
        """Do nothing: there is no other rank."""

    def run(self, work: Callable[[World], T]) -> T:
        """Call ``work`` with this world."""
        with self.watchdog.watching("working"):
            return work(self)


class ThreadWorld(World):
    """``size`` ranks in one process; ``run`` starts a thread for each.

    Example:
        >>> ThreadWorld(3).run(lambda world: world.allgather(b"%d" % world.rank))
        [b'0', b'1', b'2']
    """

    def __init__(self, size: int, *, rank: int = 0, meeting: Meeting | None = None):
        if size < 1:
            raise ValueError(f"a world needs at least one rank, not {size}")
        super().__init__(rank, size)
        self._meeting = meeting

    def _absent(self) -> list[int]:
        return self._meeting.absent() if self._meeting else []

    def swap(self, sends: Sequence[Message], receives: Sequence[Message]) -> None:
        """Copy the buffers of the other threads."""
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
            BaseException: the first one that a rank raised, with that rank in a note
                and, for a DtrainError, in its attribute ``rank``.
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
            # np.errstate and other context variables are the caller's on every rank
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


class Abandoned(BaseException):
    """Another rank has exited, so this one waits in vain.

    It is no ``Exception``, so that programs which catch those do not catch it.
    """


class Meeting:
    """The barrier and mailbox of the ``size`` threads of one run.

    A rank that waits for a rank that has exited raises instead of hanging.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.posts: list[Sequence[Message]] = [()] * size
        self.errors: list[tuple[int, BaseException]] = []
        self._changed = threading.Condition()
        self._waiting: set[int] = set()
        self._round = 0
        self._left: int | None = None

    def wait(self, rank: int) -> None:
        """Return when all ranks, of which ``rank`` is one, have called it.

        Raises:
            Abandoned: one of them has exited.

        """
        with self._changed:
            entered = self._round
            self._waiting.add(rank)
            if len(self._waiting) == self.size:
                self._waiting.clear()
                self._round += 1
                self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._round > entered or self._left is not None
            )
            if self._round == entered:
                raise Abandoned(f"rank {self._left} has exited")

    def absent(self) -> list[int]:
        """Return the ranks that have not arrived."""
        with self._changed:
            return [rank for rank in range(self.size) if rank not in self._waiting]

    def leave(self, rank: int, error: BaseException | None) -> None:
        """Release all ranks that wait, now and later: ``rank`` exits."""
        with self._changed:
            if error is not None:
                self.errors.append((rank, error))
            if self._left is None:
                self._left = rank
            self._changed.notify_all()


def root_cause(errors: list[tuple[int, BaseException]], size: int) -> BaseException:
    """Return the error to raise, from (rank, error) pairs in order of arrival."""
    real = [pair for pair in errors if not isinstance(pair[1], Abandoned)]
    if not real:
        rank, error = errors[0]
        cause = DtrainError(f"rank {rank} waits for the others, but {error}")
        cause.rank = rank
        return cause
    rank, error = real[0]
    if verdict.agreed(error):  # all ranks raise it: prefer the one where it originates
        rank, error = min(
            real, key=lambda pair: pair[0] != getattr(pair[1], "rank", None)
        )
    if isinstance(error, DtrainError) and error.rank is None:
        error.rank = rank
    error.add_note(f"on rank {rank} of {size}")
    return error
