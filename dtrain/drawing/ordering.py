"""Order the nodes of each level so that few edges cross.

The barycentre method (Sugiyama, Tagawa and Toda, 1981): level by level, sort by the
mean position of the neighbours in the previous level, then the same backward. The best
order of all sweeps is kept.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Mapping, Sequence

Spot = tuple[int, int]
"""A node in its level, or the lane of its edges in a later level: (number, level)."""

_SWEEPS = 12


def ordered(
    spots: Sequence[Spot], links: Sequence[tuple[Spot, Spot]]
) -> list[list[Spot]]:
    """Return the spots of each level from top to bottom.

    Args:
        spots: all spots.
        links: pairs of connected spots, each from one level to the next.
    """
    before, after = (
        defaultdict[Spot, list[Spot]](list),
        defaultdict[Spot, list[Spot]](list),
    )
    for a, b in links:
        after[a].append(b)
        before[b].append(a)
    levels = 1 + max((level for _, level in spots), default=-1)
    order: list[list[Spot]] = [[] for _ in range(levels)]
    for spot in spots:
        order[spot[1]].append(spot)
    best, fewest = order, _crossings(order, after)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        linked = before if forward else after
        rows = order if forward else order[::-1]
        sorted_rows = rows[:1]
        for row in rows[1:]:
            sorted_rows.append(_sorted(row, sorted_rows[-1], linked))
        order = sorted_rows if forward else sorted_rows[::-1]
        crossings = _crossings(order, after)
        if crossings < fewest:
            best, fewest = order, crossings
    return best


def _sorted(
    row: Sequence[Spot], fixed: Sequence[Spot], linked: Mapping[Spot, Sequence[Spot]]
) -> list[Spot]:
    """Sort a level by the mean positions of neighbours; others keep their position."""
    position = {spot: i for i, spot in enumerate(fixed)}
    centre = {}
    for i, spot in enumerate(row):
        near = [position[other] for other in linked.get(spot, ())]
        centre[spot] = sum(near) / len(near) if near else float(i)
    return sorted(row, key=centre.__getitem__)


def _crossings(
    order: Sequence[Sequence[Spot]], after: Mapping[Spot, Sequence[Spot]]
) -> int:
    """Return how many pairs of links cross."""
    total = 0
    for row, following in itertools.pairwise(order):
        position = {spot: i for i, spot in enumerate(following)}
        seen: list[int] = []
        for spot in row:
            ends = sorted(position[end] for end in after.get(spot, ()))
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total
