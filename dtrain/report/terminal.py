"""Detect whether standard error reaches a terminal, possibly through a launcher."""

from __future__ import annotations

import os
import sys

from dtrain.host.processes import ancestors

_LAUNCHERS = ("mpirun", "mpiexec", "prte", "hydra", "orte")


def on_terminal() -> bool:
    """Return whether output to standard error reaches a terminal.

    Under a launcher, standard error is a pipe. Then the launcher's standard error
    decides, if the launcher runs on this host and /proc shows it.
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
    """Return the pid of the outermost of consecutive ancestors that are launchers."""
    found = None
    for process in ancestors():
        if not process.name.startswith(_LAUNCHERS):
            break
        found = process.pid
    return found
