"""Look for what is wrong with ranks, hosts and launcher, and say what mends it.

Run it as training would be run, as in `mpirun -n 4 python -m dtrain doctor`. It tells
what is wrong from what is only worth knowing, each with a command that mends it. Exit
code 1 says that something is wrong.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from threadpoolctl import threadpool_info

from dtrain.cli import options
from dtrain.doctor import site
from dtrain.doctor.facts import WRONG, Facts, Folder
from dtrain.doctor.findings import findings
from dtrain.doctor.links import Link, link, sums
from dtrain.errors import LaunchError
from dtrain.host import numerics
from dtrain.reduction.memory import by_host
from dtrain.report.table import print_findings
from dtrain.worlds.launch import launched, open_world
from dtrain.worlds.mpi import load
from dtrain.worlds.world import SoloWorld, World

EXAMPLE = "  dtrain doctor"
WRITTEN = 1 << 25  # bytes
SUMMED = 1 << 22  # bytes
MANY = 16  # links that are measured
GRACE = 0.5  # seconds for rank 0 to be heard, where each process is alone


class Unjoined(SoloWorld):
    """One process that its launcher's others cannot join.

    Args:
        reason: why.

    """

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


def add_arguments(parser: ArgumentParser) -> None:
    """The command's arguments."""
    options.add_options(parser, "doctor")


def join(timeout: float) -> World:
    """Join the launcher's ranks; alone if that is refused, which is a finding."""
    try:
        return open_world(timeout)
    except LaunchError as error:
        return Unjoined(str(error))


def run(world: World, args: Namespace) -> int:
    """Gather facts on all ranks, print findings on rank 0; return the exit code."""
    facts = _facts(world, args)
    found = findings(facts) if world.rank == 0 else []  # it has measured
    launch = launched()
    if facts.refused and launch and launch.rank:
        time.sleep(GRACE)
    elif world.rank == 0:
        print_findings(found)
    wrong = any(each.level == WRONG for each in found)
    return max(map(int, world.allgather(b"%d" % wrong)))


def _facts(world: World, args: Namespace) -> Facts:
    """What all ranks know and measure together; collective, rank 0 knows all."""
    world.position.phase = "gathering what each rank knows"
    mpi = world.mpi or _library()
    sites, each = site.gather(world), numerics.gather(world)
    world.position.phase = "summing over all ranks"
    seconds = sums(world, SUMMED) if world.size > 1 else 0.0
    folder = Folder(args.checkpoint) if args.checkpoint else None
    if folder and world.rank == 0:
        world.position.phase = f"writing to {folder.path}"
        folder = measured(folder.path, args.timeout / 2)
    return Facts(
        mpi=mpi,
        sites=sites,
        groups=world.groups,
        arithmetic=each[0],
        differences=numerics.differences(each),
        threads=max((x["num_threads"] for x in threadpool_info()), default=1),
        links=_links(world),
        sum_bytes=SUMMED,
        sum_seconds=seconds,
        folder=folder,
        refused=world.reason if isinstance(world, Unjoined) else "",
        fault_tolerant=world.fault_tolerant,
    )


def _library() -> str | None:
    """The MPI library that ranks would load."""
    try:
        return load()[1]
    except (ImportError, RuntimeError):
        return None


def _links(world: World) -> list[Link]:
    """From rank 0 to one rank on each host, its own included; rank 0's to tell."""
    others = [[r for r in group if r][:1] for group in by_host(world.hosts)]
    found = []
    for other in [rank for first in others for rank in first][:MANY]:
        world.position.phase = f"sending from rank 0 to rank {other}"
        found.append(link(world, other))
    return [each for each in found if each is not None]


def measured(path: str, limit: float) -> Folder:
    """Write to a folder for some time at most, as a checkpoint would be written.

    In a thread, because a file system that does not answer holds whoever asks.
    """
    found: list[Folder] = []
    thread = threading.Thread(target=lambda: found.append(_written(path)), daemon=True)
    thread.start()
    thread.join(limit or None)
    return found[0] if found else Folder(path, error=f"no answer for {limit:g} s")


def _written(path: str) -> Folder:
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path).free
        with tempfile.TemporaryFile(dir=path) as file:
            begun = time.perf_counter()
            file.write(bytes(WRITTEN))
            file.flush()
            os.fsync(file.fileno())
            seconds = time.perf_counter() - begun
    except OSError as error:
        return Folder(path, error=error.strerror or str(error))
    return Folder(path, WRITTEN / seconds, free)
