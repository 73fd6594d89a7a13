"""Layers: a few lines of a program that many programs share, and what NumPy lacks."""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.errors import ProgramError
from dtrain.functions import transcendental
from dtrain.functions.softmax import log_softmax, logsumexp, softmax
from dtrain.functions.special import (
    digamma,
    erf,
    gammaln,
    gelu,
    normal,
    silu,
    softplus,
    xlogy,
)
from dtrain.program.initializers import Initializer
from dtrain.program.source import here
from dtrain.program.trace import current, scope
from dtrain.program.weights import weight

__all__ = [
    "dense",
    "digamma",
    "erf",
    "gammaln",
    "gelu",
    "log_softmax",
    "logsumexp",
    "normal",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "xlogy",
]


def dense(
    x: Any,
    units: int,
    *,
    name: str,
    init: Initializer | str | float = "glorot",
) -> Any:
    """The affine map ``W @ x + b`` (lecture, MLP in the vector view).

    Args:
        x: a vector of n elements.
        units: the number m of outputs.
        name: prefix of the weights ``name.W``, shape (m, n), and ``name.b``, shape
            (m,), which starts at 0.
        init: the initialiser of W.

    Raises:
        ProgramError: if x is no vector.
    """
    x = current("dense(...)").symbol(x)
    if len(x.shape) != 1:
        raise ProgramError(
            f"{here()}: layer {name!r} takes a vector, not a value of shape {x.shape}; "
            "np.ravel or indexing makes one"
        )
    with scope(name):
        W = weight("W", (units, x.shape[0]), init)
        b = weight("b", (units,), "zeros")
    return W @ x + b


def sigmoid(x: Any) -> Any:
    """1 / (1 + e⁻ˣ), elementwise."""
    return transcendental.sigmoid(x)


def relu(x: Any) -> Any:
    """max(x, 0), elementwise; its derivative at 0 is 0."""
    return np.maximum(x, 0)
