"""The lecture's running example: R(p, q) with the base functions f0 to f3."""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.data.columns import Dataset
from dtrain.functions.custom import base_function
from dtrain.tracing.layers import sigmoid
from dtrain.tracing.trace import named, program
from dtrain.tracing.weights import weight


@base_function(vjp=lambda v, y, a, q: (v * np.cos(a), v))
def f0(a: Any, q: Any) -> Any:
    """sin(a) + q."""
    return np.sin(a) + q


@base_function(vjp=lambda v, y, c: (v * (1 - y * y),))
def f1(c: Any) -> Any:
    """tanh(c)."""
    return np.tanh(c)


@base_function(vjp=lambda v, y, d: (v * (y * (1 - y)),))
def f2(d: Any) -> Any:
    """The logistic function of d."""
    return sigmoid(d)


@base_function(vjp=lambda v, y, e, f: (v * f, v * e))
def f3(e: Any, f: Any) -> Any:
    """E · f."""
    return e * f


@program
def R(P: Any, Q: Any) -> Any:
    """The program of the slide, line by line."""
    W0, W1, W2 = weight("W0"), weight("W1"), weight("W2")
    A = named(W0 * P, "A")
    B = named(f0(A, Q), "B")
    C = named(W1 * B, "C")
    D = named(W2 * B, "D")
    E = named(f1(C), "E")
    F = named(f2(D), "F")
    return named(f3(E, F), "R")


lecture = R


def triples(samples: int = 1000, seed: int = 0) -> Dataset:
    """Return triples (p, q, t) of R with W0, W1, W2 = 0.5, −1, 2, and a little noise.

    Args:
        samples: the number N of triples.
        seed: the seed of the generator.
    """
    rng = np.random.default_rng(seed)
    p, q = rng.uniform(-2, 2, (2, samples))
    b = np.sin(0.5 * p) + q
    t = np.tanh(-b) / (1 + np.exp(-2 * b)) + 0.01 * rng.standard_normal(samples)
    return Dataset({"P": p, "Q": q, "t": t}, "lecture")
