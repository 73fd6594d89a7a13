"""What a cluster's hosts and network can do, as a few constants: measured or published.

Time is latency and bandwidth (Hockney, "The communication challenge for MPP", 1994): a
message of n bytes takes α + nβ; adding n bytes takes nγ.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Machine:
    """Hosts of one kind, and what lies between them.

    Attributes:
        name: what this is, and where its figures come from.
        cores: of a host; more ranks take turns.
        alpha: seconds that a message between hosts takes whatever its length.
        memory: bytes a second that all ranks of a host together can move.
        start: seconds of the Python around a sum, whatever is summed.
        barrier: seconds of a barrier of two ranks of a host; of more, that by log₂.
        call: seconds that NumPy takes to begin an operation.
        sizes: bytes of arrays or messages for which the next three are known.
        beta: seconds for each byte that a host sends; its ranks share the way out.
        gamma: seconds a byte to add two arrays of such a size, on one core.
        scale: seconds a byte to multiply one by a number.
    """

    name: str
    cores: int
    alpha: float
    memory: float
    start: float
    barrier: float
    call: float
    sizes: Sequence[float]
    beta: Sequence[float]
    gamma: Sequence[float]
    scale: Sequence[float]

    def at(self, rates: Sequence[float], size: float, among: float = 0.0) -> float:
        """Seconds for so many bytes, by rates known at some sizes.

        Args:
            rates: one of those above.
            size: how many bytes.
            among: the bytes of a partial sum that they are part of: it is sums that a
                cache holds or does not.

        """
        place = np.log(max(size, among, 1))
        return size * float(np.interp(place, np.log(self.sizes), rates))

    @classmethod
    def load(cls, path: Path) -> Machine:
        """Read the constants that a measurement has left."""
        return cls(**json.loads(path.read_text())["machine"])


CLUSTER = Machine(
    name="hosts of 64 cores that add 20 GB/s each, 2 sockets of 12 channels DDR5-4800 "
    "at 85 % of their 2 × 460.8 GB/s; 100 Gb/s and 2 µs between hosts",
    cores=64,
    alpha=2e-6,
    memory=0.85 * 2 * 460.8e9,
    start=10e-6,
    barrier=2e-6,
    call=0.5e-6,
    sizes=[1, 1 << 40],
    beta=[8 / 100e9] * 2,
    gamma=[5e-11] * 2,
    scale=[5e-11] * 2,
)
OLDER = replace(
    CLUSTER,
    name="the same with 8 channels of DDR4-3200 a socket, 2 × 204.8 GB/s",
    memory=0.85 * 2 * 204.8e9,
)
