"""A ThreadWorld whose ranks can be killed: laws of recovery in milliseconds.

A rank is killed in its n-th exchange, after it has given what the others need. So each
of them may have the exchange's result, or have seen the failure before: both happen
where processes are killed, and which do is part of the plan.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from dtrain.errors import RankLostError
from dtrain.reduction.memory import alone
from dtrain.reduction.peers import Message
from dtrain.reduction.reduction import Reduction
from dtrain.worlds.meeting import Abandoned, Meeting
from dtrain.worlds.world import ThreadWorld, World

T = TypeVar("T")


class KilledError(BaseException):
    """What ends a thread that plays a killed process."""


@dataclass(frozen=True)
class Kill:
    """A rank's end.

    Attributes:
        rank: which one, by the number that it started with.
        exchange: in which of its exchanges, from 1.
        missed: the others that see the failure before they have the result.

    """

    rank: int
    exchange: int
    missed: Collection[int] = ()


class MortalMeeting(Meeting):
    """A meeting that a killed rank leaves, and all others by a RankLostError."""

    def wait(self, rank: int) -> None:
        """Return when all ranks are here; see ``Meeting.wait``."""
        try:
            super().wait(rank)
        except Abandoned:
            if self.errors:
                raise
            raise RankLostError("a rank has been killed") from None


class Company:
    """The threads that live, and the meeting point of those that know of each other."""

    def __init__(self, size: int) -> None:
        self.living = list(range(size))
        self.meeting = MortalMeeting(size)
        self._words: dict[int, bool] = {}
        self._round = 0
        self._verdict = False
        self._known = size  # how many there were when all last said a word
        self._changed = threading.Condition()

    def leave(self, number: int, error: BaseException | None = None) -> None:
        """Count a thread out that is killed, has failed or is done."""
        with self._changed:
            self.living.remove(number)
            self.meeting.leave(number, error)
            self._count()

    def settled(self, number: int, done: bool) -> bool:
        """Wait for all that live to say whether they are done; see ``World``."""
        with self._changed:
            if not done:
                self.meeting.leave(number, None)  # release those that wait
            begun = self._round
            self._words[number] = done
            self._count()
            self._changed.wait_for(lambda: self._round > begun)
            return self._verdict

    def _count(self) -> None:
        if self._words and set(self._words) >= set(self.living):
            done = all(self._words[number] for number in self.living)
            self._verdict = done and len(self.living) == self._known
            self._known = len(self.living)
            if not self._verdict:
                self.meeting = MortalMeeting(len(self.living))
            self._words.clear()
            self._round += 1
            self._changed.notify_all()


class MortalWorld(ThreadWorld):
    """``size`` ranks in one process that are killed as planned."""

    def __init__(self, size: int, kills: Sequence[Kill], rank: int = 0) -> None:
        super().__init__(size, rank=rank)
        self.fault_tolerant = True
        self.number, self.kills = rank, kills
        self.company = Company(size)
        self._exchange = 0

    def swap(self, sends: Sequence[Message], receives: Sequence[Message]) -> None:
        """Read the others' buffers where they are, unless it is time to be killed."""
        self._meeting = self.company.meeting
        self._exchange += 1
        super().swap(sends, receives)
        for kill in self.kills:
            if kill.exchange == self._exchange and kill.rank in self.numbers:
                if kill.rank == self.number:
                    raise KilledError
                if self.number in kill.missed:
                    raise RankLostError("seen before the result was there")

    def settled(self, done: bool) -> bool:
        """Tell whether all that live are done; if not, be the world of these."""
        if self.company.settled(self.number, done):
            return True
        living = list(self.company.living)
        self.lost += [f"rank {n}" for n in self.numbers if n not in living]
        self.numbers, self.size = living, len(living)
        self.rank, self.hosts = living.index(self.number), [self.host] * self.size
        self._reduction = Reduction(alone(self.size))
        return False

    def run(self, work: Callable[[World], T]) -> T:
        """Call ``work`` on each rank; return what the lowest that lives returns."""
        company, results, errors = self.company, {}, []  # type: ignore[var-annotated]

        def rank_main(number: int) -> None:
            world = MortalWorld(self.size, self.kills, number)
            world.company = company
            error: Any = None
            try:
                results[number] = work(world)
            except KilledError:
                pass
            except BaseException as raised:
                error = raised
                errors.append(raised)
            company.leave(number, error)

        threads = [
            threading.Thread(target=rank_main, args=(number,), daemon=True)
            for number in range(self.size)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "a rank waits for ever"
        real = [error for error in errors if not isinstance(error, Abandoned)]
        if real:
            raise real[0]
        result: T = results[min(results)]
        return result
