"""The world that this process was started in."""

from __future__ import annotations

from dtrain.worlds.launcher import Launch, launched
from dtrain.worlds.mpi import MPIWorld
from dtrain.worlds.watchdog import DEFAULT
from dtrain.worlds.world import SoloWorld, World

__all__ = ["Launch", "launched", "open_world", "speaks"]


def open_world(timeout: float | None = None) -> World:
    """Join the world that a launcher made, or be alone if none did.

    Collective under a launcher, the first time. Without one, MPI is never loaded.

    Args:
        timeout: seconds for the others to join, the first time; by default 300.

    Raises:
        LaunchError: MPI cannot be loaded, or has not connected the ranks that were
            started; its ``rank`` is the launcher's, since each singleton raises it.

    """
    if launched() is None:
        return SoloWorld()
    if not _joined:
        _joined.append(MPIWorld(timeout=DEFAULT if timeout is None else timeout))
    return _joined[0]


def speaks() -> bool:
    """Tell whether this process speaks for all: rank 0 of those that are left."""
    launch = launched()
    return launch is None or (_joined[0].rank if _joined else launch.rank) == 0


# One: MPICH has 2048 communicators, and a program may train more often than that.
_joined: list[MPIWorld] = []
