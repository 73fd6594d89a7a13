"""The world that this process was started in."""

from __future__ import annotations

from functools import cache

from dtrain.parallel.launcher import Launch, launched
from dtrain.parallel.mpi import MPIWorld
from dtrain.parallel.world import SoloWorld, World

__all__ = ["Launch", "launched", "open_world"]


def open_world() -> World:
    """Join the world that a launcher made, or be alone if none did.

    Collective under a launcher, the first time. Without one, MPI is never loaded.

    Raises:
        LaunchError: MPI cannot be loaded, or has not connected the ranks that were
            started; its ``rank`` is the launcher's, since each singleton raises it.

    """
    return SoloWorld() if launched() is None else _mpi_world()


@cache  # MPICH has 2048 communicators, and a program may train more often than that
def _mpi_world() -> MPIWorld:
    return MPIWorld()
