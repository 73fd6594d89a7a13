"""A rank that fails alone ends the job, and the first to fail is the one that is heard.

The other ranks wait in some collective call for what never comes, so they cannot be
asked: the failing rank aborts them. Before that it tells them that it fails, since
several may do so at once.
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

READ = 0.1  # seconds for the launcher to pass on what was said, not mixed with the next
LISTEN = 0.25  # seconds for notes of other failing ranks to arrive
YIELD = 2.0  # seconds for an earlier failing rank to end the job
LEAVE = 5.0  # seconds for the others to leave, too, where a rank leaves in peace


class Alarm:
    """The means of one rank to end all.

    Args:
        comm: an mpi4py communicator that is used for nothing else.
        label: how this rank is called, ``host:rank``.
        announce: where ranks may be lost, tells those that live that this one fails,
            and whether its exit code is the job's, because no other failed earlier.

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
        """Publish the error, unless another rank failed earlier, and end all ranks."""
        if (
            isinstance(error, SystemExit)
            and exit_code(error) == 0
            and self._all_leave()
        ):
            raise error
        first = True
        with contextlib.suppress(Exception):  # MPI itself may be what failed
            first = self._is_first(time.time())
        with contextlib.suppress(Exception):  # nobody may be there to read it
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
        """Exchange notes (time, rank) with the other failing ranks."""
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
        """Tell whether all ranks leave by ``sys.exit(0)``, as a program may."""
        deadline = time.monotonic() + LEAVE
        with contextlib.suppress(Exception):  # a rank may have been lost
            everybody = self.comm.Ibarrier()
            while time.monotonic() < deadline:
                if everybody.Test():
                    return True
                time.sleep(LISTEN / 100)
        return False

    def guard(self) -> None:
        """End all ranks, too, for what a user's script raises outside of a World."""
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
