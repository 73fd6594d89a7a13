"""The order of what lies in a level, with few crossings: sweeps of barycentres.

Level by level, what is linked to the level before is sorted by the mean place of what
it is linked to, then the same backward (Sugiyama, Tagawa and Toda, 1981); the best
order that a sweep has found is kept.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Mapping, Sequence

Spot = tuple[int, int]
"""A node, or the lane of its edges in a later level: the node's number, and a level."""

_SWEEPS = 12


def ordered(
    spots: Sequence[Spot], links: Sequence[tuple[Spot, Spot]]
) -> list[list[Spot]]:
    """Return the spots of each level from top to bottom.

    Args:
        spots: all of them.
        links: each from one level to the next.
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
    """A level by the mean place of what is linked to it; the rest stays about there."""
    place = {spot: i for i, spot in enumerate(fixed)}
    centre = {}
    for i, spot in enumerate(row):
        near = [place[other] for other in linked.get(spot, ())]
        centre[spot] = sum(near) / len(near) if near else float(i)
    return sorted(row, key=centre.__getitem__)


def _crossings(
    order: Sequence[Sequence[Spot]], after: Mapping[Spot, Sequence[Spot]]
) -> int:
    """How many pairs of links cross."""
    total = 0
    for row, following in itertools.pairwise(order):
        place = {spot: i for i, spot in enumerate(following)}
        seen: list[int] = []
        for spot in row:
            ends = sorted(place[end] for end in after.get(spot, ()))
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total
