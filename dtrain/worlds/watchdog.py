"""A rank that stands still ends the job, and each says where it stands.

Ranks wait for each other, so when one is stopped, lost or stuck, all stand still. A
rank counts what it does, and a thread of its own looks now and then whether that has
changed: the rank pays for some writes of attributes, and for no lock and no clock.
Nobody asks anybody else, since all that can still speak run out of time together.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from dtrain.errors import RankLostError

DEFAULT = 300.0  # seconds without progress, where processes wait for each other
LONGEST = 1e9  # seconds; timers do not take much more, and 0 is never
MOMENT = 2.0  # seconds for the other ranks to say where they stand, too
LAST_RESORT = 10.0  # seconds after which a process ends though MPI or a pipe is stuck
NAMED = 16  # ranks that one message names
LOOKS = 10  # in the time that is allowed, but at least one a second

_HERE = str(Path(__file__).parent)
# What a rank waits in, by the function on its stack.
_EXCHANGES = {
    "tree_sum": "the sum over all ranks",
    "rows": "the memory for sums",
    "broadcast": "a broadcast",
    "gather_rows": "a gathering of rows",
    "agree": "a verdict of all ranks",
    "compare": "a comparison of all ranks",
    "allgather": "a gathering of notes",
    "start": "the start of MPI",
    "finish": "the end of MPI",
}


@dataclass(slots=True)
class Position:
    """How far a rank has come: written by the rank, read by its watchdog.

    Attributes:
        label: the rank's name, ``host:rank``.
        phase: what it does.
        step: of training, from 1; 0 before.
        moves: how many exchanges it has begun.
        reached: the first block of its current or last sum that is not added yet.

    """

    label: str
    phase: str = "working"
    step: int = 0
    moves: int = 0
    reached: int = -1  # before any sum

    def mark(self) -> tuple[str, int, int, int]:
        """Give what changes while the rank makes progress."""
        return self.phase, self.step, self.moves, self.reached

    def describe(self, stack: traceback.StackSummary, seconds: float) -> str:
        """Say where the rank stands, its name before each line."""
        text = f"no progress for {seconds:g} s while {self.phase}"
        if self.step:
            block = f", block {self.reached}" if self.reached >= 0 else ""
            text += f" (step {self.step}{block})"
        names = [f.name for f in stack if f.filename.startswith(_HERE)]
        waits = next((_EXCHANGES[name] for name in names if name in _EXCHANGES), None)
        text += f"; it waits in {waits or 'no exchange'}\n"
        lines = (text + "".join(stack.format())).splitlines(keepends=True)
        return "".join(f"{self.label}: {line}" for line in lines)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


class Watchdog:
    """The watch over one rank.

    Args:
        position: how far the rank has come.
        abort: called from the watching thread, to end all ranks with an exit code.
        limit: seconds without progress that end the job; 0 is never.

    Attributes:
        awaited: return the names of the ranks that this rank waits for.

    """

    def __init__(
        self, position: Position, abort: Callable[[int], object], limit: float = 0.0
    ) -> None:
        self.position = position
        self.awaited: Callable[[], Sequence[str]] = tuple
        self._abort = abort
        self._limit = limit
        self._over: threading.Event | None = None
        self._phases: queue.SimpleQueue[threading.Event | None] | None = None
        self._kept = False
        self._rank = 0
        self._watched = False

    @property
    def limit(self) -> float:
        """Seconds without progress that end the job; 0 is never."""
        return self._limit

    @limit.setter
    def limit(self, seconds: float) -> None:
        self._limit = seconds
        self._begin()

    def keep(self) -> None:
        """Keep the thread between phases, so that it can watch a shutdown, too.

        From 3.12 on Python refuses to start a thread at interpreter shutdown.
        """
        self._kept = True
        self._begin()

    @contextlib.contextmanager
    def watching(self, phase: str) -> Iterator[None]:
        """Watch the rank, which is the thread that calls this, while it lasts."""
        if self._watched:
            yield
            return
        self._watched, self._rank = True, threading.get_ident()
        self.position.phase, self.position.step = phase, 0
        self._begin()
        try:
            yield
        finally:
            self._watched = False
            if self._over is not None:
                self._over.set()
                self._over = None
            if self._phases is not None and not self._kept:
                self._phases.put(None)
                self._phases = None

    @contextlib.contextmanager
    def without_python(self) -> Iterator[None]:
        """Limit a call that keeps the interpreter's lock, so that no thread can watch.

        mpi4py starts and ends MPI so. All that is left then is to print the stack and
        to end this process, with exit code 1.
        """
        if self._limit:
            with contextlib.suppress(AttributeError, OSError, ValueError):  # no stderr
                faulthandler.dump_traceback_later(self._limit, exit=True)
        try:
            yield
        finally:
            if self._limit:
                faulthandler.cancel_dump_traceback_later()

    def _begin(self) -> None:
        """Have the rank watched if it is wanted; start the thread if there is none."""
        if not self._limit or not (self._watched or self._kept):
            return
        if self._phases is None:
            self._phases = queue.SimpleQueue()
            threading.Thread(
                target=self._serve, args=(self._phases,), name="watchdog", daemon=True
            ).start()
        if self._watched and self._over is None:
            self._over = threading.Event()
            self._phases.put(self._over)

    def _serve(self, phases: queue.SimpleQueue[threading.Event | None]) -> None:
        """Watch one phase after the other, until there is none to come."""
        while (over := phases.get()) is not None:
            self._watch(over)

    def _watch(self, over: threading.Event) -> None:
        silent, seen, before = 0.0, self.position.mark(), time.monotonic()
        while not over.wait(pause := min(self._limit / LOOKS or 1.0, 1.0)):
            now, mark = time.monotonic(), self.position.mark()
            # A job that was suspended as a whole has not stood still meanwhile.
            silent = silent + min(now - before, 2 * pause) if mark == seen else 0.0
            seen, before = mark, now
            if self._limit and silent >= self._limit:
                self._end()
                return

    def _end(self) -> None:
        """Say where this rank stands, let the others say it, and end all."""
        with contextlib.ExitStack() as stack:
            # This timer needs no Python thread, which a shutdown does not allow, and
            # not the interpreter's lock, which MPI may keep.
            with contextlib.suppress(OSError):
                nowhere = stack.enter_context(open(os.devnull, "w"))
                faulthandler.dump_traceback_later(
                    LAST_RESORT + MOMENT, exit=True, file=nowhere
                )
                stack.callback(faulthandler.cancel_dump_traceback_later)
            self._say()
            self._abort(RankLostError.exit_code)

    def _say(self) -> None:
        """Say where this rank stands, and let the others say it."""
        with contextlib.suppress(Exception):  # nobody may be there to read it
            frame: FrameType | None = sys._current_frames().get(self._rank)
            stack = traceback.StackSummary.extract(traceback.walk_stack(frame))
            stack.reverse()
            sys.stderr.write(self.position.describe(stack, self._limit))
            sys.stderr.flush()
            if awaited := self.awaited():  # asks MPI, so only now
                named = _listed(awaited)
                sys.stderr.write(f"{self.position.label}: it waits for {named}\n")
                sys.stderr.flush()
        time.sleep(MOMENT)
        with contextlib.suppress(Exception):
            sys.stdout.flush()
