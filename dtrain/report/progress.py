"""Show the progress of a run: a bar on a terminal, otherwise lines."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dtrain.host.processes import ancestors
from dtrain.report.table import print_error_line, print_message

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from dtrain.training.run import Step

_REDRAW = 0.1  # seconds; steps may be shorter than a screen can show
_LAUNCHERS = ("mpirun", "mpiexec", "prte", "hydra", "orte")


class Progress:
    """A callback for `dtrain.train` that shows loss, samples/s and time left.

    Args:
        shown: returns whether this rank shows progress; this can change during the run.
    """

    def __init__(self, shown: Callable[[], bool]) -> None:
        self._shown = shown
        self._bar: Bar | None = None
        self._drawn = 0.0
        self._samples = 0
        self._taken = 0
        self._validation: float | None = None

    def __enter__(self) -> Progress:
        """Show nothing before the first step."""
        return self

    def _start(self, steps: int) -> None:
        if self._bar is None and self._shown() and on_terminal():
            self._bar = _bar()
            # A launcher ends its ranks by SIGTERM, also on Ctrl-C: restore the cursor
            # before the process ends.
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, self._end)
            self._bar.start()
            self._bar.add_task("", total=steps, loss="", rate="")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Restore the terminal and the signal handler."""
        self.stop()
        if signal.getsignal(signal.SIGTERM) == self._end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def stop(self) -> None:
        """Restore the terminal; any thread may call this."""
        if self._bar is not None:
            self._bar.stop()

    def _end(self, number: int, _: Any) -> None:
        """Restore the terminal, print the signal, and end the process by it."""
        self.stop()
        print_message(f"ended by {signal.Signals(number).name}")
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def __call__(self, record: Step) -> None:
        """Show a step, at a limited rate; always show the last one."""
        self._samples += record.samples
        if record.validation is not None:
            self._validation = record.validation["loss"]
        self._taken += 1
        if not self._shown():
            return
        self._start(record.steps)
        last = record.step == record.steps
        now = time.monotonic()
        rate = self._samples / record.seconds if record.seconds else 0.0
        if self._bar is not None:
            if last or now - self._drawn > _REDRAW:
                self._drawn = now
                self._bar.update(
                    self._bar.task_ids[0],
                    completed=record.step,
                    loss=self._losses(record),
                    rate=f"{rate:,.0f} samples/s",
                )
        elif last or (record.is_epoch_end and now - self._drawn > 1):
            self._drawn = now
            left = record.seconds / self._taken * (record.steps - record.step)
            print_error_line(
                f"epoch {record.epoch}  step {record.step}/{record.steps}  "
                f"{self._losses(record)}  {rate:,.0f} samples/s  "
                f"{left:.0f} s left"
            )

    def _losses(self, record: Step) -> str:
        """Return the loss of the batch, and the last validation loss, if any."""
        text = f"batch loss {record.loss:.6g}"
        if self._validation is not None:
            text += f"  validation loss {self._validation:.6g}"
        return text


def _bar() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps"),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True, force_terminal=True),
        refresh_per_second=10,
    )


def on_terminal() -> bool:
    """Return whether standard error ends on a terminal.

    Under a launcher, standard error is a pipe to the launcher. Then the launcher's
    standard error decides, if the launcher runs on this host and /proc shows it.
    """
    if sys.stderr.isatty():
        return True
    launcher = _launcher()
    if launcher is None:
        return False
    try:
        return os.readlink(f"/proc/{launcher}/fd/2").startswith(
            ("/dev/pts", "/dev/tty")
        )
    except OSError:
        return False


def _launcher() -> int | None:
    """Return the pid of the outermost launcher among the nearest ancestors."""
    found = None
    for process in ancestors():
        if not process.name.startswith(_LAUNCHERS):
            break
        found = process.pid
    return found
