"""Check during the run that all ranks have the same weights, bit for bit.

Bad memory, or a callback that writes into one rank's weights, would otherwise be found
only at the end of the run, or never.
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
    """Compares the weights of all ranks every so many steps.

    Args:
        world: the ranks.
        weights: this rank's.
        every: compare after so many steps; 0: never.
    """

    def __init__(self, world: World, weights: Weights, every: int) -> None:
        self._world = world
        self._weights = weights
        self._every = every

    def after(self, step: int) -> None:
        """Compare if it is due; collective.

        Raises:
            ReplicaError: as `compare`.
        """
        if self._every and step % self._every == 0:
            self.compare(step)

    def compare(self, step: int) -> None:
        """Compare now; collective.

        CRC-32 finds every difference within 32 adjacent bits and misses one in 2³² of
        the others, several times faster than a cryptographic digest.

        Raises:
            ReplicaError: on every rank, naming the ranks that differ from most, and the
                first difference: weight, index and values.
        """
        world = self._world
        if world.size == 1:
            return
        mine = zlib.crc32(self._weights.flat.data).to_bytes(4, "big")
        digests = world.allgather(mine)
        usual, votes = Counter(digests).most_common(1)[0]
        odd = [rank for rank, digest in enumerate(digests) if digest != usual]
        if not odd:
            return
        texts = world.allgather(self._difference(digests.index(usual)).encode())
        raise _differ(step, odd, votes, texts[odd[0]].decode(), world.names)

    def _difference(self, reference: int) -> str:
        """Describe the first difference from another rank's weights; collective."""
        mine, layout = self._weights.flat, self._weights.layout
        theirs = mine.copy()
        self._world.broadcast(theirs, reference)
        unequal = np.flatnonzero(_bits(mine) != _bits(theirs))
        if not unequal.size:
            return ""
        first = int(unequal[0])
        name, start = next(
            each for each in reversed(layout.offsets.items()) if each[1] <= first
        )
        at = np.unravel_index(first - start, layout.shapes[name])
        index = f" at {[int(i) for i in at]}" if at else ""
        return (
            f"the first of {unequal.size} differences is in weight {name!r}{index}: "
            f"{mine[first]!s} ({_hex(mine, first)}) against {theirs[first]!s} "
            f"({_hex(theirs, first)})"
        )


def _bits(x: NDArray[Any]) -> NDArray[Any]:
    return x.view(f"u{x.itemsize}")


def _hex(x: NDArray[Any], index: int) -> str:
    return f"0x{_bits(x)[index]:0{2 * x.itemsize}x}"


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
