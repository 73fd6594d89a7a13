"""Measure messages, clocks and sums between ranks, and writing to a folder."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.worlds.world import World

ROUND_TRIPS = 30
REPEATS = 8
MESSAGE = 1 << 20  # bytes
WRITTEN = 1 << 25  # bytes


@dataclass
class _Vector:
    """A partial sum and a total to measure with."""

    slots: NDArray[np.float32]
    tail: NDArray[np.float64]
    level: int = 0

    def receive(self, slots: NDArray[Any]) -> None:
        """Ignore the sum."""


@dataclass(frozen=True)
class Link:
    """The connection between rank 0 and another rank.

    Attributes:
        rank: the other rank.
        seconds: the median time of a message of a few bytes, one way.
        bytes_per_second: the median over messages of 1 MB, there and back.
        ahead: the seconds by which the other's clock is ahead of rank 0's.
        unsure: the uncertainty of ``ahead``: half a round trip.

    """

    rank: int
    seconds: float
    bytes_per_second: float
    ahead: float
    unsure: float


@dataclass(frozen=True)
class Folder:
    """A folder for checkpoints.

    Attributes:
        path: of the folder.
        bytes_per_second: written and synchronised.
        free: free bytes.
        error: why nothing could be written; empty if it could.

    """

    path: str
    bytes_per_second: float = 0.0
    free: int = 0
    error: str = ""


def measure_link(world: World, other: int) -> Link | None:
    """Measure the connection from rank 0 to another; collective.

    Returns:
        The result on rank 0, ``None`` on other ranks.

    """
    clock, trips = np.zeros(1), []
    for _ in range(ROUND_TRIPS):
        sent = time.time()
        _there_and_back(world, other, clock)
        trips.append((time.time() - sent, sent, float(clock[0])))
    message, times = np.zeros(MESSAGE, np.uint8), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        _there_and_back(world, other, message)
        times.append(time.perf_counter() - start)
    if world.rank:
        return None
    shortest, sent, there = min(trips)
    return Link(
        rank=other,
        seconds=median(trip for trip, _, _ in trips) / 2,
        bytes_per_second=2 * MESSAGE / median(times),
        ahead=there - (sent + shortest / 2),
        unsure=shortest / 2,
    )


def _there_and_back(world: World, other: int, buffer: NDArray[Any]) -> None:
    """Send a buffer from rank 0 to another and back; one number returns as a time."""
    at_start, there = world.rank == 0, world.rank == other
    world.swap(
        [(other, buffer)] if at_start else [],
        [(0, buffer)] if there else [],
    )
    if there and buffer.size == 1:
        buffer[0] = time.time()
    world.swap(
        [(0, buffer)] if there else [],
        [(other, buffer)] if at_start else [],
    )


def measure_sum(world: World, size: int) -> float:
    """Return the median seconds of a sum of ``size`` bytes over all ranks; collective.

    The first sum sets up the shared memory: ``World.groups`` is final after it.
    """
    partial, total = (
        _Vector(np.zeros(size // 4, np.float32), np.zeros(1)) for _ in range(2)
    )
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        world.tree_sum(world.size, [partial], total)
        times.append(time.perf_counter() - start)
    return median(times)


def measure_folder(path: str, limit: float) -> Folder:
    """Write to a folder as a checkpoint is written, for at most ``limit`` seconds.

    It writes in a thread, because a file system that hangs blocks the caller.
    """
    found: list[Folder] = []
    thread = threading.Thread(target=lambda: found.append(_write(path)), daemon=True)
    thread.start()
    thread.join(limit or None)
    return found[0] if found else Folder(path, error=f"no answer for {limit:g} s")


def _write(path: str) -> Folder:
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path).free
        with tempfile.TemporaryFile(dir=path) as file:
            start = time.perf_counter()
            file.write(bytes(WRITTEN))
            file.flush()
            os.fsync(file.fileno())
            seconds = time.perf_counter() - start
    except OSError as error:
        return Folder(path, error=error.strerror or str(error))
    return Folder(path, WRITTEN / seconds, free)
