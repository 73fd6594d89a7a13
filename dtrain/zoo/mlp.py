"""The multilayer perceptron in the vector view, 64-32-10 on the UCI digits."""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.program import layers
from dtrain.program.trace import program


@program
def mlp(x: Any) -> Any:
    """A hidden layer of 32 tanh neurons, and one linear output for each digit."""
    hidden = np.tanh(layers.dense(x, 32, name="hidden"))
    return layers.dense(hidden, 10, name="output")
