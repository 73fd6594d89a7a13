"""A random irregular network: no layers, no matrices, connections of any length.

The lecture's method only requires a graph without cycles. A Python loop with a seeded
generator connects this one; `trace` sees only the result of the loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.data.columns import Dataset
from dtrain.tracing import initializers, layers
from dtrain.tracing.trace import program
from dtrain.tracing.weights import weight

_BASE_FUNCTIONS = (np.tanh, np.sin, layers.sigmoid)


@program
def irregular(p: Any, q: Any) -> Any:
    """40 neurons; each reads 2 to 4 earlier values, at any distance.

    The output reads all neurons and both inputs.
    """
    rng = np.random.default_rng(0)
    values = [p, q]
    for i in range(40):
        count = min(int(rng.integers(2, 5)), len(values))
        read = rng.choice(len(values), size=count, replace=False)
        total = _sum(f"{i:02}", {j: values[j] for j in sorted(read)})
        f = _BASE_FUNCTIONS[rng.integers(len(_BASE_FUNCTIONS))]
        values.append(f(total))
    return _sum("output", dict(enumerate(values)))


def _sum(neuron: str, values: dict[int, Any]) -> Any:
    """Return the sum of each value times the weight of its edge, and a bias."""
    total = weight(f"b.{neuron}", init="zeros")
    first = initializers.normal(len(values) ** -0.5)  # the variance of a sum is about 1
    for j, value in values.items():
        total = total + weight(f"W.{neuron}.{j:02}", init=first) * value
    return total


def waves(samples: int = 2048, seed: int = 0) -> Dataset:
    """Return triples (p, q, t) with t = sin 2p · cos q, p and q between −2 and 2.

    Args:
        samples: the number N of triples.
        seed: the seed of the generator.
    """
    p, q = np.random.default_rng(seed).uniform(-2, 2, (2, samples))
    return Dataset({"p": p, "q": q, "t": np.sin(2 * p) * np.cos(q)}, "waves")
