"""Gather the facts of all ranks, also where they cannot join MPI."""

from __future__ import annotations

from threadpoolctl import threadpool_info

from dtrain.doctor import site
from dtrain.doctor.facts import Facts
from dtrain.doctor.measure import (
    Folder,
    Link,
    measure_folder,
    measure_link,
    measure_sum,
)
from dtrain.errors import LaunchError
from dtrain.host.numerics import differences
from dtrain.reduction.memory import by_host
from dtrain.worlds import numerics
from dtrain.worlds.launch import open_world
from dtrain.worlds.mpi import load
from dtrain.worlds.world import SoloWorld, World

SUMMED = 1 << 22  # bytes
MOST_LINKS = 16  # that are measured


class Unjoined(SoloWorld):
    """A process whose launcher started others that it cannot join.

    Args:
        reason: why.

    """

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


def join(timeout: float) -> World:
    """Join the launcher's ranks; where that is refused, return a world of one."""
    try:
        return open_world(timeout)
    except LaunchError as error:
        return Unjoined(str(error))


def gather_facts(world: World, folder: str | None, timeout: float) -> Facts:
    """Gather and measure facts; collective; those measured are complete on rank 0.

    Args:
        world: all ranks.
        folder: for checkpoints, to measure.
        timeout: seconds without progress that end the ranks.

    """
    world.position.phase = "gathering facts from all ranks"
    mpi = world.mpi or _library()
    sites, environments = site.gather(world), numerics.gather(world)
    world.position.phase = "summing over all ranks"
    seconds = measure_sum(world, SUMMED) if world.size > 1 else 0.0
    written = Folder(folder) if folder else None
    if folder and world.rank == 0:
        world.position.phase = f"writing to {folder}"
        written = measure_folder(folder, timeout / 2)
    return Facts(
        mpi=mpi,
        sites=sites,
        groups=world.groups,
        arithmetic=environments[0],
        differences=differences(environments),
        threads=max((x["num_threads"] for x in threadpool_info()), default=1),
        links=_links(world),
        sum_bytes=SUMMED,
        sum_seconds=seconds,
        folder=written,
        refused=world.reason if isinstance(world, Unjoined) else "",
        fault_tolerant=world.fault_tolerant,
    )


def _library() -> str | None:
    """Return the MPI library that ranks would load."""
    try:
        return load()[1]
    except (ImportError, RuntimeError):
        return None


def _links(world: World) -> list[Link]:
    """Measure from rank 0 to one rank on each host; rank 0 returns the results."""
    firsts = [next((r for r in group if r), 0) for group in by_host(world.hosts)]
    found = []
    for other in [rank for rank in firsts if rank][:MOST_LINKS]:
        world.position.phase = f"sending from rank 0 to rank {other}"
        found.append(measure_link(world, other))
    return [link for link in found if link is not None]
