"""End all ranks when one fails; only the first that fails prints its error.

The other ranks wait in some collective call and cannot be asked, so the failing rank
aborts them. Before that it exchanges notes with other failing ranks, since several may
fail at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn

import numpy as np

from dtrain.worlds.verdict import agreed, describe, exit_code

READ = 0.1  # seconds for the launcher to forward output, not mixed with other output
LISTEN = 0.25  # seconds for notes of other failing ranks to arrive
YIELD = 2.0  # seconds for a rank that failed earlier to end the job
LEAVE = 5.0  # seconds for the other ranks to exit by sys.exit(0), too


class Alarm:
    """Ends all ranks when this one fails.

    Args:
        comm: an mpi4py communicator that has no other use.
        label: the name of this rank, ``host:rank``.
        announce: with fault tolerance, tell the survivors that this rank fails, with
            its exit code and whether it is the first to fail.

    Attributes:
        comm: the communicator.

    """

    def __init__(
        self,
        comm: Any,
        label: str,
        announce: Callable[[int, bool], None] | None = None,
    ) -> None:
        self.comm = comm
        self._label = label
        self._announce = announce

    def end_all(self, error: BaseException) -> NoReturn:
        """Print the error, unless another rank failed earlier, and end all ranks."""
        if (
            isinstance(error, SystemExit)
            and exit_code(error) == 0
            and self._all_leave()
        ):
            raise error
        first = True
        with contextlib.suppress(Exception):  # MPI itself may have failed
            first = self._is_first(time.time())
        with contextlib.suppress(Exception):  # stdout may be closed
            sys.stdout.flush()
        if first:
            time.sleep(READ)
            lines = describe(error).splitlines(keepends=True)
            with contextlib.suppress(Exception):
                sys.stderr.write("".join(f"{self._label}: {line}" for line in lines))
                sys.stderr.flush()
            time.sleep(READ)
        code = exit_code(error) or 70
        if self._announce:
            self._announce(code, first)
        elif not first:
            time.sleep(YIELD)
        self.comm.Abort(code)
        os._exit(code)

    def _is_first(self, when: float) -> bool:
        """Exchange notes (time, rank) with other failing ranks; compare the times."""
        own = np.array([when, self.comm.rank])
        others = (rank for rank in range(self.comm.size) if rank != self.comm.rank)
        notes = [self.comm.Isend(own, dest=rank) for rank in others]
        theirs = np.empty(2)
        deadline = time.monotonic() + LISTEN
        while notes and time.monotonic() < deadline:
            if self.comm.Iprobe():
                self.comm.Recv(theirs)
                if tuple(theirs) < tuple(own):
                    return False
            else:
                time.sleep(LISTEN / 100)
        return True

    def _all_leave(self) -> bool:
        """Return whether all ranks exit by ``sys.exit(0)``, as a program may."""
        deadline = time.monotonic() + LEAVE
        with contextlib.suppress(Exception):  # a rank may have been lost
            all_leave = self.comm.Ibarrier()
            while time.monotonic() < deadline:
                if all_leave.Test():
                    return True
                time.sleep(LISTEN / 100)
        return False

    def guard(self) -> None:
        """End all ranks also for errors in a user's script outside ``World.run``."""
        show = sys.excepthook

        def hook(
            kind: type[BaseException],
            error: BaseException,
            trace: TracebackType | None,
        ) -> None:
            if not agreed(error):
                self.end_all(error)
            if self.comm.rank == 0:
                show(kind, error, trace)
            raise SystemExit(exit_code(error))

        sys.excepthook = hook
