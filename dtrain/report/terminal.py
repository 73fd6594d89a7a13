"""Whether a person watches standard error on a terminal, perhaps through a launcher."""

from __future__ import annotations

import os
import sys

from dtrain.host.processes import ancestors

_LAUNCHERS = ("mpirun", "mpiexec", "prte", "hydra", "orte")


def on_terminal() -> bool:
    """Return whether what is written to standard error ends up on a terminal.

    Under a launcher it is a pipe to the launcher, so the launcher's own standard error
    is looked at, where it runs on this host (and /proc shows it).
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
    """Return the pid of the most distant of consecutive ancestors that launch."""
    found = None
    for process in ancestors():
        if not process.name.startswith(_LAUNCHERS):
            break
        found = process.pid
    return found
