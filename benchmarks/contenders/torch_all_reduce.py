"""PyTorch on several ranks at its best: a compiled gradient and one sum over gloo.

By hand what DistributedDataParallel does for a module, with less on the way: compiled
with forward and backward in one, the gradient is one flat vector, and so are the
weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed
from torch.func import functional_call, grad_and_value
from torch.nn.functional import mse_loss

from benchmarks.contenders import torch_eager
from benchmarks.workloads import Case


class Contender(torch_eager.Contender):
    """A compiled gradient of a rank's samples, and weights that lie in one vector."""

    def __init__(self, case: Case, rank: int, size: int, meeting: str) -> None:
        distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=size
        )
        super().__init__(case, rank, size, meeting)
        parameters = dict(self.named.named_parameters())
        self.flat = torch.cat([p.detach().flatten() for p in parameters.values()])
        pieces = self.flat.split([p.numel() for p in parameters.values()])
        for p, piece in zip(parameters.values(), pieces, strict=True):
            p.data = piece.view_as(p)
        self.weights = {name: p.detach() for name, p in parameters.items()}

        def loss(weights: Any, inputs: Any, t: Any) -> Any:
            output = functional_call(self.named, weights, inputs)
            return mse_loss(output, t, reduction="sum") / (len(t) * size)

        differentiate = grad_and_value(loss)

        @torch.compile(fullgraph=True, options={"cpp_wrapper": True})
        def gradient(weights: Any, inputs: Any, t: Any) -> Any:
            gradient, loss = differentiate(weights, inputs, t)
            return torch.cat([g.flatten() for g in gradient.values()]), loss

        self.differentiate = gradient

    @torch.no_grad()
    def run(self, steps: int) -> None:
        """Run steps."""
        weights, inputs, flat = self.weights, self.inputs, self.flat
        for _ in range(steps):
            gradient, _ = self.differentiate(weights, inputs, self.target)
            distributed.all_reduce(gradient)
            flat.sub_(gradient, alpha=self.case.rate)
