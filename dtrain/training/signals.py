"""Signals that ask a run to save itself, and to stop.

SIGUSR1 asks for a checkpoint, SIGUSR2 for a checkpoint and an end; all ranks hear of it
with the next step. SIGTERM and SIGINT ask for the same, but a launcher may kill a
moment later, so rank 0 saves its last completed step at once, and the process ends
after a short grace even if the step does not.

A Python handler would not run while MPI or BLAS computes. So the interpreter's own
handler, in C, writes the signal's number into a pipe, and a thread reads it.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from enum import IntFlag
from types import FrameType, TracebackType
from typing import Any

from dtrain.errors import StoppedError, UsageError

LOG = logging.getLogger("dtrain")
GRACE = 1.0  # seconds for all ranks to agree, after which each ends by itself
PATIENCE = 5.0  # the same for ranks that rank 0, which saves, should not be ended by
_LAST = 19  # the priority of what gives way to everything
_TWICE = (
    0.2  # seconds: what comes sooner is the same SIGINT, from terminal and launcher
)


class Ask(IntFlag):
    """What a rank may ask of all: the bits of a flag word."""

    SAVE = 1
    STOP = 2


_ASKS = {
    signal.SIGUSR1: Ask.SAVE,
    signal.SIGUSR2: Ask.SAVE | Ask.STOP,
    signal.SIGTERM: Ask.SAVE | Ask.STOP,
    signal.SIGINT: Ask.SAVE | Ask.STOP,
}
_AT_ONCE = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Hears signals while it is entered, and leaves all handlers as they were.

    Outside of the main thread it hears none, because Python allows no handlers there.

    Attributes:
        grace: seconds from SIGTERM or SIGINT to the end, if the step does not end.
        farewell: called before the process is ended.

    Args:
        active: whether to hear any; without checkpoints there is nothing to ask for.
        owned: whether the process is dtrain's own, to be ended as it sees fit. In
            another's, who has a handler of their own for SIGTERM or SIGINT, as Python
            has for Ctrl-C, is handed the signal after the grace.
        end: ends the process, and with it the job, with an exit code.
    """

    def __init__(
        self,
        *,
        active: bool,
        owned: bool = False,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        main = threading.current_thread() is threading.main_thread()
        self._active, self._owned = active and main, owned
        self._leave = end
        self._saving: threading.Thread | None = None
        self._asked = 0
        self._lock = threading.Lock()
        self._saves: list[Callable[[], bool]] = []
        self._code = StoppedError.exit_code
        self._handlers: dict[int, Any] = {}
        self._handed_over: set[int] = set()
        self.grace = GRACE
        self.farewell: Callable[[], None] = lambda: None

    def __enter__(self) -> Signals:
        """Begin to hear."""
        if self._active:
            self._inlet, self._outlet = os.pipe()
            os.set_blocking(self._outlet, False)
            self._before = signal.set_wakeup_fd(self._outlet, warn_on_full_buffer=False)
            for number in _ASKS:
                # What is ignored stays ignored, as SIGINT is in a shell's background.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._handlers[number] = signal.signal(number, self._heard)
                    signal.siginterrupt(number, False)
            self._thread = threading.Thread(
                target=self._listen, name="signals", daemon=True
            )
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop hearing."""
        if self._active:
            for number, handler in self._handlers.items():
                if signal.getsignal(number) == self._heard:
                    signal.signal(number, handler)
            signal.set_wakeup_fd(self._before)
            os.close(self._outlet)  # the thread reads the end, and ends
            self._thread.join()
            if self._saving is not None:
                self._saving.join()
            os.close(self._inlet)

    def at_once(self, save: Callable[[], bool]) -> None:
        """Have SIGTERM and SIGINT do this, too, without waiting for the step.

        It tells whether the run can be gone on with.
        """
        self._saves.append(save)

    def take(self) -> int:
        """What was asked since the last time; to stop is asked until it is done."""
        if not self._asked:
            return 0
        with self._lock:
            asked = self._asked
            self._asked &= Ask.STOP
        return asked

    def _listen(self) -> None:
        """Read signals until the pipe is closed; end the process when that is due."""
        first: signal.Signals | None = None
        begun = 0.0
        while True:
            left = (
                None
                if first is None
                else max(0.0, begun + self.grace - time.monotonic())
            )
            if not select.select([self._inlet], [], [], left)[0]:
                if self._saving is not None:
                    self._saving.join()
                self._end(first)
                return
            byte = os.read(self._inlet, 1)
            if not byte:
                return
            number = byte[0]
            if number not in self._handlers:
                if self._before >= 0:  # somebody else's pipe, such as an event loop's
                    os.write(self._before, byte)
                continue
            with self._lock:
                self._asked |= _ASKS[signal.Signals(number)]
            if number not in _AT_ONCE:
                continue
            if first is None:
                first, begun = signal.Signals(number), time.monotonic()
                self._saving = threading.Thread(target=self._save_at_once, daemon=True)
                self._saving.start()
            elif number == signal.SIGINT and time.monotonic() - begun > _TWICE:
                self._end(signal.SIGINT, again=True)
                return

    def _save_at_once(self) -> None:
        if not self._saves:
            LOG.warning("asked to stop before the first step: nothing to be saved")
        if self._owned and sys.platform == "linux":
            # A launcher may have given both threads one core, and kill them soon.
            main = threading.main_thread().native_id
            os.setpriority(os.PRIO_PROCESS, main or 0, _LAST)
        saved = [save() for save in self._saves]
        if not all(saved):
            self._code = UsageError.exit_code

    def _end(self, number: signal.Signals | None, *, again: bool = False) -> None:
        """End the process, or hand a signal to whom it belonged before."""
        number = number or signal.SIGTERM
        if not self._owned and callable(self._handlers[number]):
            self._handed_over.add(number)
            os.kill(os.getpid(), number)  # the main thread runs its handler
            return
        self.farewell()
        self._leave(128 + number if again else self._code)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        """Do nothing, because the thread hears it, unless it was handed over."""
        if number in self._handed_over:
            self._handlers[number](number, frame)
