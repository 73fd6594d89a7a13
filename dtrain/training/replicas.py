"""Replicas: every rank's weights have the same bits, and that is checked as it goes.

Bad memory, or a callback that writes into one rank's weights, would otherwise be known
only when the run ends, or never.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.errors import ReplicaError
from dtrain.gradient.vector import Weights
from dtrain.worlds.world import World


class Replicas:
    """Compares the weights of all ranks, every so many steps.

    Args:
        world: the ranks.
        weights: this rank's.
        every: after how many steps; 0 for never.
    """

    def __init__(self, world: World, weights: Weights, every: int) -> None:
        self._world = world
        self._weights = weights
        self._every = every

    def after(self, step: int) -> None:
        """Compare if it is time to; collective.

        Raises:
            ReplicaError: as `compare`.
        """
        if self._every and step % self._every == 0:
            self.compare(step)

    def compare(self, step: int) -> None:
        """Compare now; collective.

        A sum of 32 bits finds whatever differs within 32 bits side by side, and misses
        one in 2³² of all else, at several times the speed of a cryptographic digest.

        Raises:
            ReplicaError: on every rank, naming those that differ from most, and for the
                first the place and the values.
        """
        world = self._world
        if world.size == 1:
            return
        own = zlib.crc32(self._weights.flat.data).to_bytes(4, "big")
        digests = world.allgather(own)
        usual, votes = Counter(digests).most_common(1)[0]
        odd = [rank for rank, digest in enumerate(digests) if digest != usual]
        if not odd:
            return
        texts = world.allgather(self._difference(digests.index(usual)).encode())
        raise _differ(step, odd, votes, texts[odd[0]].decode(), world.names)

    def _difference(self, reference: int) -> str:
        """Where this rank's weights first differ from those of another; collective."""
        mine, layout = self._weights.flat, self._weights.layout
        theirs = mine.copy()
        self._world.broadcast(theirs, reference)
        places = np.flatnonzero(_bits(mine) != _bits(theirs))
        if not places.size:
            return ""
        first = int(places[0])
        name, start = next(
            each for each in reversed(layout.offsets.items()) if each[1] <= first
        )
        at = np.unravel_index(first - start, layout.shapes[name])
        index = f" at {[int(i) for i in at]}" if at else ""
        return (
            f"the first of {places.size} places is in weight {name!r}{index}: "
            f"{mine[first]!s} ({_hex(mine, first)}) against {theirs[first]!s} "
            f"({_hex(theirs, first)})"
        )


def _bits(x: NDArray[Any]) -> NDArray[Any]:
    return x.view(f"u{x.itemsize}")


def _hex(x: NDArray[Any], place: int) -> str:
    return f"0x{_bits(x)[place]:0{2 * x.itemsize}x}"


def _differ(
    step: int, odd: Sequence[int], votes: int, first: str, names: Sequence[str]
) -> ReplicaError:
    those = ", ".join(names[rank] for rank in odd)
    most = (
        f"those of the other {votes} ranks"
        if votes > len(odd)
        else f"those of as many others ({votes}), so either may be the wrong ones"
    )
    error = ReplicaError(
        f"after step {step} the weights of {those} differ from {most}; of "
        f"{names[odd[0]]} {first}; look for a callback that changes weights "
        "on some ranks only, else for bad memory on that host"
    )
    error.agreed = True
    return error
