"""The workloads as PyTorch modules, vectorised over the batch."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from benchmarks.workloads import Case

torch.set_num_threads(1)


class Lecture(nn.Module):
    """R(p, q)."""

    def __init__(self) -> None:
        super().__init__()
        self.W0, self.W1, self.W2 = (nn.Parameter(torch.empty(())) for _ in range(3))

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        """Every sample's R."""
        b = torch.sin(self.W0 * p) + q
        return torch.tanh(self.W1 * b) * torch.sigmoid(self.W2 * b)


class MLP(nn.Module):
    """A perceptron of several layers."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        activation = {"tanh": nn.Tanh, "relu": nn.ReLU}[case.activation]
        layers: list[nn.Module] = []
        for n, m in zip(case.widths, case.widths[1:], strict=False):
            layers += [nn.Linear(n, m), activation()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Every sample's output."""
        return self.layers(x)


class Wired(nn.Module):
    """A graph of scalar nodes; all weights in one vector, which the optimizer likes."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.nodes = case.wiring.nodes
        self.w = nn.Parameter(torch.empty(case.wiring.weights))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Every sample's output."""
        values, w = list(inputs), self.w.unbind()
        for node in self.nodes:
            a, *b = (values[i] for i in node.inputs)
            if node.function == "add":
                values.append(torch.addcmul(a, w[node.weight], b[0]))
            elif node.function == "multiply":
                values.append(a * b[0])
            else:
                function = getattr(torch, node.function)
                values.append(function(w[node.weight] * a))
        return values[-1]


def module(case: Case) -> nn.Module:
    """A case's model with its first weights."""
    made = {"lecture": lambda _: Lecture(), "mlp": MLP, "wiring": Wired}[case.model]
    model = made(case).to(getattr(torch, case.dtype))
    with torch.no_grad():
        for name, parameter in by_name(model):
            parameter.copy_(torch.from_numpy(case.weights()[name]))
    return model


def by_name(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """A model's parameters by the workload's names."""
    names = {}
    for name, parameter in model.named_parameters():
        if name.startswith("layers."):
            _, k, kind = name.split(".")
            name = f"layer{int(k) // 2}.{'W' if kind == 'weight' else 'b'}"
        names[name] = parameter
    return list(names.items())


def tensors(
    case: Case, columns: dict[str, NDArray[Any]]
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Inputs and target."""
    *inputs, t = (torch.from_numpy(column) for column in columns.values())
    if case.model == "wiring":
        inputs = [x.contiguous() for x in inputs[0].unbind(1)]
    return tuple(inputs), t


def loss(model: nn.Module, inputs: tuple[Tensor, ...], t: Tensor) -> Tensor:
    """The mean over samples of the sum of squared errors."""
    return mse_loss(model(*inputs), t, reduction="sum") / len(t)
