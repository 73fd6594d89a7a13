"""A ThreadWorld whose ranks can be killed, to test recovery in milliseconds.

A rank is killed in its n-th exchange, after it has sent what the others need. Each of
them may then have the result of the exchange, or detect the loss before. Both happen
with real processes; here a plan decides.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from dtrain.errors import RankLostError
from dtrain.reduction.communicator import Message
from dtrain.reduction.partition import solo_groups
from dtrain.reduction.reduction import Reduction
from dtrain.worlds.local import Abandoned, Meeting, ThreadWorld
from dtrain.worlds.world import World

T = TypeVar("T")


class KilledError(BaseException):
    """Ends a thread that simulates a killed process."""


@dataclass(frozen=True)
class Kill:
    """A planned loss of a rank.

    Attributes:
        rank: its original number.
        exchange: the number of its exchange, from 1, in which it is killed.
        missed: the ranks that detect the loss before they have the result.

    """

    rank: int
    exchange: int
    missed: Collection[int] = ()


class MortalMeeting(Meeting):
    """A meeting where waiting raises a RankLostError after a rank is killed."""

    def wait(self, rank: int) -> None:
        """Return when all ranks have called it; see ``Meeting.wait``."""
        try:
            super().wait(rank)
        except Abandoned:
            if self.errors:
                raise
            raise RankLostError("a rank has been killed") from None


class Company:
    """The survivors, and the meeting of those that know of the same losses."""

    def __init__(self, size: int) -> None:
        self.survivors = list(range(size))
        self.meeting = MortalMeeting(size)
        self._words: dict[int, bool] = {}
        self._round = 0
        self._verdict = False
        self._known = size  # the number of survivors at the last agreement
        self._changed = threading.Condition()

    def leave(self, number: int, error: BaseException | None = None) -> None:
        """Remove a thread that is killed, has failed or is done."""
        with self._changed:
            self.survivors.remove(number)
            self.meeting.leave(number, error)
            self._count()

    def settled(self, number: int, done: bool) -> bool:
        """Wait until all survivors have said whether they are done; see ``World``."""
        with self._changed:
            if not done:
                self.meeting.leave(number, None)  # release those that wait
            begun = self._round
            self._words[number] = done
            self._count()
            self._changed.wait_for(lambda: self._round > begun)
            return self._verdict

    def _count(self) -> None:
        if self._words and set(self._words) >= set(self.survivors):
            done = all(self._words[number] for number in self.survivors)
            self._verdict = done and len(self.survivors) == self._known
            self._known = len(self.survivors)
            if not self._verdict:
                self.meeting = MortalMeeting(len(self.survivors))
            self._words.clear()
            self._round += 1
            self._changed.notify_all()


class MortalWorld(ThreadWorld):
    """``size`` threads that are killed as planned."""

    def __init__(self, size: int, kills: Sequence[Kill], rank: int = 0) -> None:
        super().__init__(size, rank=rank)
        self.fault_tolerant = True
        self.number, self.kills = rank, kills
        self.company = Company(size)
        self._exchange = 0

    def swap(self, sends: Sequence[Message], receives: Sequence[Message]) -> None:
        """Copy the buffers of the other threads, then raise if a kill is planned."""
        self._meeting = self.company.meeting
        self._exchange += 1
        super().swap(sends, receives)
        for kill in self.kills:
            if kill.exchange == self._exchange and kill.rank in self.numbers:
                if kill.rank == self.number:
                    raise KilledError
                if self.number in kill.missed:
                    raise RankLostError("detected before the result arrived")

    def settled(self, done: bool) -> bool:
        """Return whether all survivors are done; if not, become their world."""
        if self.company.settled(self.number, done):
            return True
        survivors = list(self.company.survivors)
        self.lost += [f"rank {n}" for n in self.numbers if n not in survivors]
        self.numbers, self.size = survivors, len(survivors)
        self.rank, self.hosts = survivors.index(self.number), [self.host] * self.size
        self._reduction = Reduction(solo_groups(self.size))
        return False

    def run(self, work: Callable[[World], T]) -> T:
        """Call ``work`` on each rank; return the result of the lowest survivor."""
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
            assert not thread.is_alive(), "a rank hangs"
        real = [error for error in errors if not isinstance(error, Abandoned)]
        if real:
            raise real[0]
        result: T = results[min(results)]
        return result
