"""Where threads that play ranks wait for each other and leave their messages.

Who waits for somebody that has left gives up, so nothing hangs.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from dtrain.errors import DtrainError
from dtrain.reduction.peers import Message
from dtrain.worlds import verdict


class Abandoned(BaseException):
    """Another rank has left, so what this one waits for cannot happen.

    No ``Exception``: a program that catches those should not swallow it.
    """


class Meeting:
    """The meeting point of the ``size`` threads of one run."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.posts: list[Sequence[Message]] = [()] * size
        self.errors: list[tuple[int, BaseException]] = []
        self._changed = threading.Condition()
        self._waiting: set[int] = set()
        self._round = 0
        self._left: int | None = None

    def wait(self, rank: int) -> None:
        """Return when all ranks are here, of which ``rank`` is one.

        Raises:
            Abandoned: one of them has left.

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
                raise Abandoned(f"rank {self._left} has left")

    def absent(self) -> list[int]:
        """Return the ranks that have not come yet."""
        with self._changed:
            return [rank for rank in range(self.size) if rank not in self._waiting]

    def leave(self, rank: int, error: BaseException | None) -> None:
        """Nobody may wait for ``rank`` any more."""
        with self._changed:
            if error is not None:
                self.errors.append((rank, error))
            if self._left is None:
                self._left = rank
            self._changed.notify_all()


def root_cause(errors: list[tuple[int, BaseException]], size: int) -> BaseException:
    """Choose from (rank, error) pairs, as they came in, what a person should see."""
    real = [pair for pair in errors if not isinstance(pair[1], Abandoned)]
    if not real:
        rank, error = errors[0]
        cause = DtrainError(f"rank {rank} waits for the others, but {error}")
        cause.rank = rank
        return cause
    rank, error = real[0]
    if verdict.agreed(error):  # all ranks raise it: take it from where it comes
        rank, error = min(
            real, key=lambda pair: pair[0] != getattr(pair[1], "rank", None)
        )
    if isinstance(error, DtrainError) and error.rank is None:
        error.rank = rank
    error.add_note(f"on rank {rank} of {size}")
    return error
