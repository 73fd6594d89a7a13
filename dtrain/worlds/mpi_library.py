"""Load, start and end MPI: the only import of mpi4py."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import time
import warnings
from typing import Any, NoReturn

from dtrain.worlds import ulfm
from dtrain.worlds.launcher import Launch
from dtrain.worlds.watchdog import Watchdog

POLL = 0.002  # seconds between two tests whether all ranks are about to exit


def load() -> tuple[Any, str]:
    """Load MPI without starting it; return the module and the library's name.

    Raises:
        ImportError, RuntimeError: there is no library, or none that mpi4py can load.

    """
    import mpi4py

    mpi4py.rc.initialize = False  # a wrong library may abort in MPI_Init: check first
    from mpi4py import MPI

    vendor, version = MPI.get_vendor()
    return MPI, f"{vendor} {'.'.join(map(str, version))}"


def start(launch: Launch | None, watchdog: Watchdog) -> tuple[Any, str]:
    """Load MPI, and start it unless it is started; return module and library name.

    Raises:
        LaunchError: MPI cannot be loaded, or not under this launcher.

    """
    try:
        MPI, library = load()
    except (ImportError, RuntimeError) as reason:
        launch = launch or Launch("MPIWorld()", None, 0)
        raise launch.no_library(reason) from None
    if not MPI.Is_initialized():
        if launch:
            launch.check_library(library)
        # mpi4py warns of what ``check_library`` and ``check_size`` check precisely.
        with watchdog.without_python(), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            MPI.Init_thread()
        atexit.register(finish, MPI, watchdog)
        watchdog.keep()
    return MPI, library


def end(fault_tolerant: bool, code: int) -> NoReturn:
    """End all ranks, at any time, even during the start or end of MPI."""
    mpi = sys.modules.get("mpi4py.MPI")
    if fault_tolerant:
        ulfm.end_launcher()
    elif mpi and mpi.Is_initialized() and not mpi.Is_finalized():
        mpi.COMM_WORLD.Abort(code)
    os._exit(code)


def finish(mpi: Any, watchdog: Watchdog) -> None:
    """Finalize MPI at exit, when all ranks exit."""
    if mpi.Is_finalized():
        return
    with watchdog.watching("leaving"):
        all_exit = mpi.COMM_WORLD.Ibarrier()
        while not all_exit.Test():
            time.sleep(POLL)
    # It fails if the launcher has ended, but the work is done.
    with watchdog.without_python(), contextlib.suppress(mpi.Exception):
        mpi.Finalize()
