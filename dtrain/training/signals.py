"""Signals that ask a run to save, to stop, or to end.

With checkpoints, SIGUSR1 requests a checkpoint, SIGUSR2 a checkpoint and a stop; all
ranks learn of it with the next step. SIGTERM and SIGINT request the same, but a
launcher may kill the process a moment later. So rank 0 saves its last completed step at
once, and the process ends after a short grace period even if the step does not.

A Python handler would not run while MPI or BLAS computes. So the interpreter's own
handler, in C, writes the signal's number into a pipe, and a thread reads it.

Without checkpoints, the first Ctrl-C ends the run after the step, with its weights.
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
from typing import Any, ClassVar

from dtrain.errors import StoppedError, UsageError

LOG = logging.getLogger("dtrain")
GRACE = 1.0  # seconds for all ranks to agree, after which each ends by itself
PATIENCE = 5.0  # the same for ranks that rank 0, which saves, should not be ended by
_LAST = 19  # the priority of what gives way to everything
_TWICE = (
    0.2  # seconds: what comes sooner is the same SIGINT, from terminal and launcher
)


class Ask(IntFlag):
    """What a rank may ask of all ranks: the bits of a flag word."""

    SAVE = 1
    STOP = 2  # after a checkpoint, with an error: to be resumed
    CALLBACK = 4
    INTERRUPT = 8
    END = CALLBACK | INTERRUPT  # before the step is taken, with the weights so far


_ASKS = {
    signal.SIGUSR1: Ask.SAVE,
    signal.SIGUSR2: Ask.SAVE | Ask.STOP,
    signal.SIGTERM: Ask.SAVE | Ask.STOP,
    signal.SIGINT: Ask.SAVE | Ask.STOP,
}
_AT_ONCE = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Handles signals while it is entered, and restores all handlers afterwards.

    Outside of the main thread it handles none, because Python allows no handlers there.

    Attributes:
        entered: the one that is entered, if any: a run inside of it uses it.
        grace: seconds from SIGTERM or SIGINT to the end, if the step does not end.
        farewell: called before the process is ended.

    Args:
        active: whether to save and stop on signals; without checkpoints it cannot.
        owned: whether the process is dtrain's, so that it may be ended. Otherwise a
            handler that the caller had for SIGTERM or SIGINT, such as Python's for
            Ctrl-C, receives the signal after the grace period.
        end: ends the process, and with it the job, with an exit code.
    """

    entered: ClassVar[Signals | None] = None

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
        """Begin to handle signals."""
        Signals.entered = self
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
        """Restore the handlers."""
        Signals.entered = None
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
        """Let SIGTERM and SIGINT also call this, without waiting for the step.

        It returns whether the run can be resumed.
        """
        self._saves.append(save)

    def take(self) -> int:
        """Return what was asked since the last call; a stop is asked until done."""
        if not self._asked:
            return 0
        with self._lock:
            asked = self._asked
            self._asked &= Ask.STOP
        return asked

    def _listen(self) -> None:
        """Read signals until the pipe is closed; end the process when it is due."""
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
                if self._before >= 0:  # another reader's pipe, such as an event loop's
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
            LOG.warning("asked to stop before the first step: there is nothing to save")
        if self._owned and sys.platform == "linux":
            # Both threads may share one core, and the launcher may kill them soon.
            main = threading.main_thread().native_id
            os.setpriority(os.PRIO_PROCESS, main or 0, _LAST)
        saved = [save() for save in self._saves]
        if not all(saved):
            self._code = UsageError.exit_code

    def _end(self, number: signal.Signals | None, *, again: bool = False) -> None:
        """End the process, or pass the signal to the handler that was there before."""
        number = number or signal.SIGTERM
        if not self._owned and callable(self._handlers[number]):
            self._handed_over.add(number)
            os.kill(os.getpid(), number)  # the main thread runs its handler
            return
        self.farewell()
        self._leave(128 + number if again else self._code)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        """Do nothing, because the thread reads it, unless it was passed on."""
        if number in self._handed_over:
            self._handlers[number](number, frame)


class Interrupt:
    """Turns the first Ctrl-C into a request to end the run; the next one interrupts.

    It acts only between `arm` and the end of its ``with`` block, in the main thread,
    and only if Ctrl-C would otherwise raise a KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self._armed = False
        self._asked = 0

    def __enter__(self) -> Interrupt:
        """Do nothing until it is armed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Restore Python's handler."""
        if self._armed and signal.getsignal(signal.SIGINT) == self._heard:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def arm(self) -> None:
        """Begin to handle Ctrl-C."""
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._heard)
            self._armed = True

    def take(self) -> int:
        """Return what was asked."""
        return self._asked

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            signal.default_int_handler(number, frame)
        self._asked = Ask.INTERRUPT
