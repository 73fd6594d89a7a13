"""The machine's own rate: NumPy's float32 product of two matrices of 1024²."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.workloads import Case

SIZE = 1024
FLOPS = 2 * SIZE**3


class Contender:
    """Two matrices and where their product goes."""

    def __init__(self, case: Case, rank: int, size: int, meeting: str) -> None:
        del case, rank, size, meeting
        rng = np.random.default_rng(0)
        self.a, self.b = rng.standard_normal((2, SIZE, SIZE), dtype=np.float32)
        self.product = np.empty_like(self.a)

    def run(self, steps: int) -> None:
        """Multiply so many times."""
        for _ in range(steps):
            np.matmul(self.a, self.b, self.product)

    def outcome(self) -> dict[str, NDArray[Any]]:
        """Nothing to compare."""
        return {}
