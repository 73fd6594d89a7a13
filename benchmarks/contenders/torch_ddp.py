"""PyTorch's DistributedDataParallel over gloo, one process for each rank."""

from __future__ import annotations

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from benchmarks.contenders import torch_eager
from benchmarks.workloads import Case


class Contender(torch_eager.Contender):
    """The eager contender with its module wrapped; ranks' means are averaged."""

    def __init__(self, case: Case, rank: int, size: int, meeting: str) -> None:
        distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=size
        )
        super().__init__(case, rank, size, meeting)
        self.model = DistributedDataParallel(
            self.named, gradient_as_bucket_view=True, static_graph=True
        )
        self.optimizer = torch.optim.SGD(self.model.parameters(), case.rate, fused=True)
