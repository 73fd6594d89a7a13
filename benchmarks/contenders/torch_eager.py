"""PyTorch as most people run it: autograd on eager operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray

from benchmarks.contenders import share
from benchmarks.contenders.torch_models import by_name, loss, module, tensors
from benchmarks.workloads import Case


class Contender:
    """A module, its optimizer and a batch; other torch contenders wrap its parts."""

    loss: Callable[..., torch.Tensor] = staticmethod(loss)

    def __init__(self, case: Case, rank: int, size: int, meeting: str) -> None:
        del meeting
        self.case = case
        self.named = module(case)
        self.model = self.named
        self.inputs, self.target = tensors(case, share(case, rank, size))
        # fused: one call for all parameters; foreach is slower on CPU.
        self.optimizer = torch.optim.SGD(self.model.parameters(), case.rate, fused=True)

    def run(self, steps: int) -> None:
        """Run steps."""
        model, inputs, target = self.model, self.inputs, self.target
        optimizer, descend = self.optimizer, self.case.rate > 0
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            self.loss(model, inputs, target).backward()
            if descend:
                optimizer.step()

    def outcome(self) -> dict[str, NDArray[Any]]:
        """The weights, or their gradients."""
        return {
            name: (p.detach() if self.case.rate else p.grad).numpy().copy()
            for name, p in by_name(self.named)
        }
