"""PyTorch with a compiled loss, and backward and optimizer as most people call them."""

from __future__ import annotations

import torch

from benchmarks.contenders import torch_eager
from benchmarks.contenders.torch_models import loss
from benchmarks.workloads import Case

# Inductor's own start-up is no part of a program's first step.
torch.compile(lambda x: x + 1)(torch.ones(8))


class Contender(torch_eager.Contender):
    """The eager contender with a compiled loss."""

    def __init__(self, case: Case, rank: int, size: int, meeting: str) -> None:
        super().__init__(case, rank, size, meeting)
        self.loss = torch.compile(loss, fullgraph=True)
