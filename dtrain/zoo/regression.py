"""Polynomial and logistic regression."""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.data.columns import Dataset
from dtrain.data.digits import Part, digits
from dtrain.tracing.trace import program
from dtrain.tracing.weights import weight

COEFFICIENTS = (0.5, -1.0, 0.25, 2.0)


@program
def polynomial(x: Any) -> Any:
    """c₀ + c₁ x + c₂ x² + c₃ x³, fitted by least squares."""
    return sum(weight(f"c{k}", init="zeros") * x**k for k in range(4))


@program
def logistic(x: Any) -> Any:
    """Logistic regression: the logit W · x + b of a class's probability."""
    return weight("W", x.shape, "zeros") @ x + weight("b", init="zeros")


def cubic(samples: int = 500, seed: int = 0) -> Dataset:
    """Return points (x, t) of the cubic with `COEFFICIENTS`, and a little noise.

    Args:
        samples: the number N of points.
        seed: the seed of the generator.
    """
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, samples)
    powers = x[:, None] ** np.arange(len(COEFFICIENTS))
    t = powers @ np.array(COEFFICIENTS) + 0.1 * rng.standard_normal(samples)
    return Dataset({"x": x, "t": t}, "a cubic")


def threes_and_eights(part: Part) -> Dataset:
    """Return the threes and eights of the UCI digits: pixels x; t = 1 for an eight."""
    columns = digits(part).columns
    x, label = columns["x"], columns["label"]
    chosen = (label == 3) | (label == 8)
    return Dataset({"x": x[chosen], "t": label[chosen] == 8}, f"3 or 8 ({part})")
