"""PyTorch at its best: forward, backward and update compiled into one function.

With the gradient taken inside of what is compiled (torch.func), inductor fuses backward
into forward and keeps no intermediate values.
"""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch.func import functional_call, grad_and_value
from torch.nn.functional import mse_loss

from benchmarks.contenders import torch_eager
from benchmarks.workloads import Case

# Inductor's own start-up is no part of a program's first step.
torch.compile(lambda x: x + 1)(torch.ones(8))


class Contender(torch_eager.Contender):
    """A compiled step that changes the weights in place."""

    def __init__(self, case: Case, rank: int, size: int, meeting: str) -> None:
        super().__init__(case, rank, size, meeting)
        self.weights = {k: p.detach() for k, p in self.named.named_parameters()}
        self.gradient: dict[str, torch.Tensor] = {}

        def loss(weights: Any, inputs: Any, t: Any) -> Any:
            output = functional_call(self.named, weights, inputs)
            return mse_loss(output, t, reduction="sum") / len(t)

        differentiate = grad_and_value(loss)

        def step(weights: Any, inputs: Any, t: Any) -> Any:
            gradient, loss = differentiate(weights, inputs, t)
            if case.rate:
                for name, w in weights.items():
                    w.sub_(gradient[name], alpha=case.rate)
                return {}, loss
            return gradient, loss

        # The calls between kernels in C++, too: a third of a small MLP's step. On
        # hundreds of scalar nodes that takes minutes to compile, and saves little.
        options = {"cpp_wrapper": case.model != "wiring"}
        self.step = torch.compile(step, fullgraph=True, options=options)

    @torch.no_grad()
    def run(self, steps: int) -> None:
        """Run steps."""
        step, weights, inputs = self.step, self.weights, self.inputs
        for _ in range(steps):
            self.gradient, _ = step(weights, inputs, self.target)

    def outcome(self) -> dict[str, NDArray[Any]]:
        """The weights, which are the module's own, or their gradients."""
        for name, p in self.named.named_parameters():
            p.grad = self.gradient.get(name)
        return super().outcome()
