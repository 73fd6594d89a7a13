"""Layers: short pieces that many programs share, and functions that NumPy lacks."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from dtrain.errors import ProgramError
from dtrain.functions import transcendental
from dtrain.functions.bessel import i0, i1
from dtrain.functions.gamma import beta, digamma, gamma, gammaln, polygamma
from dtrain.functions.softmax import log_softmax, logsumexp, softmax
from dtrain.functions.special import (
    erf,
    erfc,
    erfinv,
    gelu,
    normal,
    silu,
    softplus,
    xlogy,
)
from dtrain.functions.windows import Sizes, convolution, max_pool, mean_pool
from dtrain.tracing.initializers import Initializer
from dtrain.tracing.source import here
from dtrain.tracing.trace import current, scope
from dtrain.tracing.weights import weight

__all__ = [
    "beta",
    "convolution",
    "convolutional",
    "dense",
    "digamma",
    "erf",
    "erfc",
    "erfinv",
    "gamma",
    "gammaln",
    "gelu",
    "i0",
    "i1",
    "log_softmax",
    "logsumexp",
    "max_pool",
    "mean_pool",
    "normal",
    "polygamma",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "xlogy",
]


def __dir__() -> list[str]:
    """List the public names, for tab completion."""
    return sorted(__all__)


def dense(
    x: Any,
    units: int,
    *,
    name: str,
    init: Initializer | str | float = "glorot",
) -> Any:
    """Return the affine map ``W @ x + b`` (lecture, MLP in the vector view).

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


def convolutional(
    x: Any,
    filters: int,
    size: Sizes,
    *,
    name: str,
    stride: Sizes = 1,
    padding: Sizes | Literal["same"] = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    init: Initializer | str | float = "glorot",
) -> Any:
    """Return a `convolution` and a bias for each filter.

    Args:
        x: shape (channels, *space).
        filters: their number.
        size: a filter's size, one number or one for each axis of space.
        name: prefix of the weights ``name.W``, shape (filters, channels / groups,
            *size), and ``name.b``, shape (filters,), which starts at 0.
        stride: see `convolution`, as are padding, dilation and groups.
        padding: zeros at both ends of each axis of space.
        dilation: the step between a filter's elements.
        groups: the number of groups of channels.
        init: the initialiser of W.

    Raises:
        ProgramError: if x has no axis of space, or shapes do not fit.
    """
    x = current("convolutional(...)").symbol(x)
    if len(x.shape) < 2:
        raise ProgramError(
            f"{here()}: layer {name!r} takes (channels, *space), not a value of shape "
            f"{x.shape}; x[None] makes a vector one channel"
        )
    space = len(x.shape) - 1
    sizes = (size,) * space if isinstance(size, int) else tuple(size)
    with scope(name):
        W = weight("W", (filters, x.shape[0] // groups, *sizes), init)
        b = weight("b", (filters,), "zeros")
    try:
        y = convolution(
            x, W, stride=stride, padding=padding, dilation=dilation, groups=groups
        )
    except ValueError as error:
        raise ProgramError(f"{here()}: layer {name!r}: {error}") from None
    return y + np.reshape(b, (filters,) + (1,) * space)


def sigmoid(x: Any) -> Any:
    """1 / (1 + e⁻ˣ), elementwise."""
    return transcendental.sigmoid(x)


def relu(x: Any) -> Any:
    """max(x, 0), elementwise; its derivative at 0 is 0."""
    return np.maximum(x, 0)
