"""The multilayer perceptron 64-32-10 on the UCI digits, in both views of the lecture.

In the vector view a layer is ``W @ x + b``. In the scalar view every edge has a scalar
weight and every neuron is a sum. Both compute the same function.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from dtrain.tracing import initializers, layers
from dtrain.tracing.trace import program, scope
from dtrain.tracing.weights import weight


@program
def mlp(x: Any) -> Any:
    """A hidden layer of 32 tanh neurons, and a linear output for each digit."""
    hidden = np.tanh(layers.dense(x, 32, name="hidden"))
    return layers.dense(hidden, 10, name="output")


@program
def mlp_scalar(x: Any) -> Any:
    """The same function edge by edge: neuron i sums W.i.j times value j, and b.i."""
    hidden = [np.tanh(a) for a in neurons(x, 32, name="hidden")]
    return np.stack(neurons(hidden, 10, name="output"))


def neurons(values: Iterable[Any], units: int, *, name: str) -> list[Any]:
    """Return the sums of a fully connected layer, before the activation function."""
    values = list(values)
    bound = math.sqrt(
        6 / (len(values) + units)
    )  # the bound for a matrix of these weights
    glorot = initializers.uniform(-bound, bound)
    sums = []
    with scope(name):
        for i in range(units):
            total = weight(f"b.{i:02}", init="zeros")
            for j, value in enumerate(values):
                total = total + weight(f"W.{i:02}.{j:02}", init=glorot) * value
            sums.append(total)
    return sums
