"""How fast ranks reach each other, and how far their clocks are apart.

Collective: every rank takes part in each exchange, most of them with nothing to send.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.worlds.world import World

PINGS = 30
PIECES = 8
PIECE = 1 << 20  # bytes


@dataclass
class _Numbers:
    """A record to sum."""

    slots: NDArray[np.float32]
    tail: NDArray[np.float64]
    level: int = 0

    def receive(self, slots: NDArray[Any]) -> None:
        """Leave a sum where it is: nobody reads it."""


@dataclass(frozen=True)
class Link:
    """The way between rank 0 and another.

    Attributes:
        rank: the other.
        seconds: there, for a message of a few bytes; the median.
        bytes_per_second: of messages of one MB, to and fro; the median.
        ahead: seconds by which the other's clock is ahead.
        unsure: by which that may be wrong: half a round trip.

    """

    rank: int
    seconds: float
    bytes_per_second: float
    ahead: float
    unsure: float


def link(world: World, other: int) -> Link | None:
    """Measure the way between rank 0 and another; rank 0 has the result."""
    clock, trips = np.zeros(1), []
    for _ in range(PINGS):
        sent = time.time()
        _to_and_fro(world, other, clock)
        trips.append((time.time() - sent, sent, float(clock[0])))
    piece, times = np.zeros(PIECE, np.uint8), []
    for _ in range(PIECES):
        begun = time.perf_counter()
        _to_and_fro(world, other, piece)
        times.append(time.perf_counter() - begun)
    if world.rank:
        return None
    shortest, sent, there = min(trips)
    return Link(
        rank=other,
        seconds=median(trip for trip, _, _ in trips) / 2,
        bytes_per_second=2 * PIECE / median(times),
        ahead=there - (sent + shortest / 2),
        unsure=shortest / 2,
    )


def _to_and_fro(world: World, other: int, box: NDArray[Any]) -> None:
    """Send a box from rank 0 to another and back; a clock is read there."""
    at_start, there = world.rank == 0, world.rank == other
    world.swap(
        [(other, box)] if at_start else [],
        [(0, box)] if there else [],
    )
    if there and box.size == 1:
        box[0] = time.time()
    world.swap(
        [(0, box)] if there else [],
        [(other, box)] if at_start else [],
    )


def sums(world: World, size: int) -> float:
    """Seconds to sum so many bytes of float32 over all ranks, the median; collective.

    Ranks share memory from here on, or find that they cannot: see `World.groups`.
    """
    own, total = (
        _Numbers(np.zeros(size // 4, np.float32), np.zeros(1)) for _ in range(2)
    )
    times = []
    for _ in range(PIECES):
        begun = time.perf_counter()
        world.tree_sum(world.size, [own], total)
        times.append(time.perf_counter() - begun)
    return median(times)
