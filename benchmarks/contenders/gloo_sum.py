"""A sum of vectors over ranks by gloo, as PyTorch calls it."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import distributed

from benchmarks.contenders import own_vector
from benchmarks.workloads import Case


class Contender:
    """A tensor that is summed in place; zeros, since sums of sums would overflow."""

    def __init__(self, case: Case, rank: int, size: int, meeting: str) -> None:
        torch.set_num_threads(1)
        distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=size
        )
        self.own = torch.from_numpy(own_vector(case, rank))
        self.tensor = torch.zeros_like(self.own)

    def run(self, steps: int) -> None:
        """Sum so many times."""
        for _ in range(steps):
            distributed.all_reduce(self.tensor)

    def outcome(self) -> dict[str, NDArray[Any]]:
        """The sum of what ranks bring."""
        distributed.all_reduce(total := self.own.clone())
        return {"sum": total.numpy()}
