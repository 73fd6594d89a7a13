"""Abort all ranks when one makes no progress; each rank prints its position first.

Ranks wait for each other, so if one is stopped, lost or stuck, none makes progress. A
rank records its position, and a thread checks at intervals whether it has changed. The
rank only writes a few attributes; it takes no lock and reads no clock. The watchdogs of
different ranks do not communicate: they all time out together.
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

DEFAULT = 300.0  # seconds without progress, for processes that wait for each other
LONGEST = 1e9  # seconds; the limit of Python's timers is not much larger
MOMENT = 2.0  # seconds for the other ranks to print their positions, too
LAST_RESORT = 10.0  # seconds until a process ends even if MPI or a pipe is stuck
NAMED = 16  # the most ranks that a message names
CHECKS = 10  # within the limit, but at least one per second

_HERE = str(Path(__file__).parent)
# The exchange that a rank waits in, by the name of a function on its stack.
_EXCHANGES = {
    "tree_sum": "the sum over all ranks",
    "rows": "the allocation of memory for sums",
    "broadcast": "a broadcast",
    "gather_rows": "a gather of rows",
    "agree": "an agreement of all ranks",
    "compare": "a comparison of all ranks",
    "allgather": "an exchange of notes",
    "start": "the start of MPI",
    "finish": "the end of MPI",
}


@dataclass(slots=True)
class Position:
    """How far a rank has come: written by the rank, read by its watchdog.

    Attributes:
        label: the rank's name, ``host:rank``.
        phase: its current activity, such as ``training``.
        step: of training, from 1; 0 before.
        moves: the number of exchanges that it has started.
        reached: the first block of the current or last sum that has not arrived; -1
            before any sum.

    """

    label: str
    phase: str = "working"
    step: int = 0
    moves: int = 0
    reached: int = -1

    def mark(self) -> tuple[str, int, int, int]:
        """Return a value that changes when the rank makes progress."""
        return self.phase, self.step, self.moves, self.reached

    def describe(self, stack: traceback.StackSummary, seconds: float) -> str:
        """Return text about the position, with the rank's name before each line."""
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
    """Watches one rank.

    Args:
        position: how far the rank has come.
        abort: called in the watching thread to end all ranks with an exit code.
        limit: abort after so many seconds without progress; 0 disables.

    Attributes:
        awaited: returns the names of the ranks that this rank waits for.

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
        """The seconds without progress after which to abort; 0 disables."""
        return self._limit

    @limit.setter
    def limit(self, seconds: float) -> None:
        self._limit = seconds
        self._begin()

    def keep(self) -> None:
        """Keep the thread between phases, so that it can also watch a shutdown.

        Since 3.12 Python refuses to start a thread at interpreter shutdown.
        """
        self._kept = True
        self._begin()

    @contextlib.contextmanager
    def watching(self, phase: str) -> Iterator[None]:
        """Watch the calling thread, which is the rank, within the context."""
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
        """Limit a call that holds the interpreter's lock, so that no thread can watch.

        mpi4py does so when it starts and ends MPI. At the limit faulthandler prints the
        stack and ends this process with exit code 1.
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
        """Start watching if needed; start the thread if there is none."""
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
        """Watch one phase after another until the end of the queue."""
        while (over := phases.get()) is not None:
            self._watch(over)

    def _watch(self, over: threading.Event) -> None:
        silent, seen, before = 0.0, self.position.mark(), time.monotonic()
        while not over.wait(pause := min(self._limit / CHECKS or 1.0, 1.0)):
            now, mark = time.monotonic(), self.position.mark()
            # The time for which the whole job was suspended does not count.
            silent = silent + min(now - before, 2 * pause) if mark == seen else 0.0
            seen, before = mark, now
            if self._limit and silent >= self._limit:
                self._end()
                return

    def _end(self) -> None:
        """Print the position, let other ranks print theirs, and end all ranks."""
        with contextlib.ExitStack() as stack:
            # This timer needs neither a Python thread, which shutdown forbids, nor the
            # interpreter's lock, which MPI may hold.
            with contextlib.suppress(OSError):
                nowhere = stack.enter_context(open(os.devnull, "w"))
                faulthandler.dump_traceback_later(
                    LAST_RESORT + MOMENT, exit=True, file=nowhere
                )
                stack.callback(faulthandler.cancel_dump_traceback_later)
            self._report()
            self._abort(RankLostError.exit_code)

    def _report(self) -> None:
        """Print the position, and let other ranks print theirs."""
        with contextlib.suppress(Exception):  # stderr may be closed
            frame: FrameType | None = sys._current_frames().get(self._rank)
            stack = traceback.StackSummary.extract(traceback.walk_stack(frame))
            stack.reverse()
            sys.stderr.write(self.position.describe(stack, self._limit))
            sys.stderr.flush()
            if awaited := self.awaited():  # calls MPI, so it comes last
                named = _listed(awaited)
                sys.stderr.write(f"{self.position.label}: it waits for {named}\n")
                sys.stderr.flush()
        time.sleep(MOMENT)
        with contextlib.suppress(Exception):
            sys.stdout.flush()
