"""Join the world that this process was started in."""

from __future__ import annotations

from dtrain.worlds.launcher import launched
from dtrain.worlds.local import SoloWorld
from dtrain.worlds.mpi import MPIWorld
from dtrain.worlds.watchdog import DEFAULT
from dtrain.worlds.world import World


def open_world(timeout: float | None = None) -> World:
    """Join the ranks that a launcher started; without one, return a world of one rank.

    Collective under a launcher, the first time; later calls return the same world. MPI
    is loaded only under a launcher.

    Args:
        timeout: the seconds that the first call waits for the other ranks, 300 by
            default.

    Raises:
        LaunchError: MPI cannot be loaded, or has not connected the ranks that the
            launcher started.

    Example:
        >>> from dtrain import open_world
        >>> world = open_world()
        >>> world.rank, world.size  # the same script under mpirun -n 4: size 4
        (0, 1)
        >>> world.run(lambda world: world.allgather(b"hello"))
        [b'hello']
    """
    if launched() is None:
        return SoloWorld()
    if not _joined:
        _joined.append(MPIWorld(timeout=DEFAULT if timeout is None else timeout))
    return _joined[0]


def is_rank_0() -> bool:
    """Return whether this process is rank 0 of the survivors, also before it joins."""
    launch = launched()
    return launch is None or (_joined[0].rank if _joined else launch.rank) == 0


# At most one: MPICH has only 2048 communicators, and a program may train more often.
_joined: list[MPIWorld] = []
