"""What a cluster's hosts and network can do, as a few constants: measured or published.

Time is latency and bandwidth (Hockney, "The communication challenge for MPP", 1994): a
message of n bytes takes α + nβ; adding n bytes takes nγ.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Machine:
    """Hosts of one kind, and what lies between them.

    Attributes:
        name: what this is, and where its figures come from.
        cores: of a host; more ranks take turns.
        alpha: seconds that a message between hosts takes whatever its length.
        beta: seconds for each byte that a host sends; its ranks share the way out.
        memory: bytes a second that all ranks of a host together can move.
        barrier: seconds of a barrier of two ranks of a host; of more, that by log₂.
        call: seconds that NumPy takes to begin an operation.
        sizes: bytes of arrays for which the next two are known.
        add: seconds a byte to add two arrays of such a size, on one core (γ).
        take: seconds a byte to multiply one into another.
    """

    name: str
    cores: int
    alpha: float
    beta: float
    memory: float
    barrier: float
    call: float
    sizes: Sequence[float]
    add: Sequence[float]
    take: Sequence[float]

    def adding(self, size: float) -> float:
        """Seconds a byte to add arrays of a size, between the sizes that are known."""
        return float(np.interp(np.log(max(size, 1)), np.log(self.sizes), self.add))

    def taking(self, size: float) -> float:
        """The same for a product with a number."""
        return float(np.interp(np.log(max(size, 1)), np.log(self.sizes), self.take))

    def save(self, path: Path) -> None:
        """Write the constants as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Machine:
        """Read constants that `save` wrote."""
        return cls(**json.loads(path.read_text()))


CLUSTER = Machine(
    name="64 cores a host, 2 sockets of 8 channels DDR4-3200 at 85 % of their peak of "
    "2 × 204.8 GB/s; 100 Gb/s and 2 µs between hosts; cores that add 10 GB/s",
    cores=64,
    alpha=2e-6,
    beta=8 / 100e9,
    memory=0.85 * 2 * 204.8e9,
    barrier=2e-6,
    call=0.5e-6,
    sizes=[1, 1 << 40],
    add=[1e-10, 1e-10],
    take=[1e-10, 1e-10],
)
