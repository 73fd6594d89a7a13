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


class Edges(nn.Module):
    """An MLP of scalars; those of a layer in one matrix, which the optimizer likes."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.activation = {"tanh": torch.tanh, "relu": torch.relu}[case.activation]
        self.layers = nn.ModuleList(
            nn.Linear(n, m) for n, m in zip(case.widths, case.widths[1:], strict=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Every sample's output, neuron by neuron."""
        values = [column.contiguous() for column in x.unbind(1)]
        for layer in self.layers:
            sums = []
            for row, b in zip(layer.weight.unbind(), layer.bias.unbind(), strict=True):
                total = b
                for w, value in zip(row.unbind(), values, strict=True):
                    total = torch.addcmul(total, w, value)
                sums.append(total)
            values = [self.activation(total) for total in sums]
        return torch.stack(sums, 1)


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
    made = {"lecture": lambda _: Lecture(), "mlp": MLP, "edges": Edges, "wiring": Wired}
    model = made[case.model](case).to(getattr(torch, case.dtype))
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
            number = int(k) // (1 if isinstance(model, Edges) else 2)
            name = f"layer{number}.{'W' if kind == 'weight' else 'b'}"
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
