"""The workloads on arrays, for libraries that differentiate NumPy's functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.workloads import Case


@dataclass(frozen=True)
class Library:
    """What a library calls its functions.

    Attributes:
        np: its NumPy.
        sigmoid: the logistic function.
        relu: max(x, 0).
        unstack: a vector's elements, each to be multiplied with a batch.
    """

    np: Any
    sigmoid: Callable[[Any], Any]
    relu: Callable[[Any], Any]
    unstack: Callable[[Any], Sequence[Any]]


def loss_of(case: Case, library: Library) -> Callable[[Any, Any], Any]:
    """The mean over samples of the sum of squared errors, of weights and columns."""
    models = {"lecture": _lecture, "mlp": _mlp, "edges": _mlp, "wiring": _wired}
    model = models[case.model]

    def loss(weights: Any, columns: Any) -> Any:
        *inputs, t = columns
        error = t - model(case, library, weights, *inputs)
        return library.np.sum(error * error) / case.samples

    return loss


def _lecture(case: Case, library: Library, weights: Any, p: Any, q: Any) -> Any:
    del case
    np = library.np
    b = np.sin(weights["W0"] * p) + q
    return np.tanh(weights["W1"] * b) * library.sigmoid(weights["W2"] * b)


def _mlp(case: Case, library: Library, weights: Any, x: Any) -> Any:
    last = len(case.widths) - 2
    activate = library.np.tanh if case.activation == "tanh" else library.relu
    for k in range(last + 1):
        x = x @ weights[f"layer{k}.W"].T + weights[f"layer{k}.b"]
        if k < last:
            x = activate(x)
    return x


def _wired(case: Case, library: Library, weights: Any, *inputs: Any) -> Any:
    np, values, w = library.np, list(inputs), library.unstack(weights["w"])
    functions = {"tanh": np.tanh, "sin": np.sin, "sigmoid": library.sigmoid}
    for node in case.wiring.nodes:
        a, *b = (values[i] for i in node.inputs)
        if node.function == "add":
            values.append(a + w[node.weight] * b[0])
        elif node.function == "multiply":
            values.append(a * b[0])
        else:
            values.append(functions[node.function](w[node.weight] * a))
    return values[-1]


def in_order(case: Case, columns: Any) -> list[Any]:
    """Inputs, each contiguous, and the target."""
    *inputs, t = columns.values()
    if case.model == "wiring":
        inputs = [x.copy() for x in inputs[0].T]
    return [*inputs, t]
