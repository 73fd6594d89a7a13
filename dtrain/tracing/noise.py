"""Fresh random numbers in a program: one more leaf of the flow graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dtrain.errors import ProgramError
from dtrain.functions.base import Shape
from dtrain.tracing.builder import Builder
from dtrain.tracing.expand import rebuild
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import NOISE, Node
from dtrain.tracing.source import here
from dtrain.tracing.symbol import Symbol
from dtrain.tracing.trace import current

MEANS = {"normal": 0.0, "uniform": 0.5, "dropout": 1.0}
SHARES = 1 << 16
"""The rate of a dropout is rounded to a multiple of 1 / SHARES."""


def noise(shape: int | Sequence[int] = (), distribution: str = "normal") -> Any:
    """Return random numbers that are new in every step and for every sample.

    They depend on the seed of the run, the step, the sample's row in the training data
    and the call in the program alone. So they are the same bits on any number of ranks,
    and when a run is resumed. Outside of training (evaluate, predict, validation,
    loss_and_gradient, objective, check) the value is the mean: 0 for ``normal``, 0.5
    for ``uniform``.

    Args:
        shape: the shape for one sample; ``()`` is a scalar.
        distribution: ``normal`` (mean 0, variance 1) or ``uniform`` (in [0, 1)).

    Returns:
        A symbol to compute with.

    Raises:
        ProgramError: outside of a program; no such shape or distribution.

    Example:
        >>> from dtrain import noise, program, weight
        >>> @program
        ... def blurred(x):
        ...     return weight("w", (), 1.0) * (x + 0.1 * noise())
        >>> blurred.trace().inputs
        {'x': 0}
    """
    builder = current("noise(...)")
    size = (shape,) if isinstance(shape, int | np.integer) else shape
    if not isinstance(size, tuple | list) or not all(
        isinstance(n, int | np.integer) and n >= 0 for n in size
    ):
        raise ProgramError(f"{here()}: noise cannot have the shape {shape!r}")
    if distribution not in ("normal", "uniform"):
        raise ProgramError(
            f"{here()}: no distribution {distribution!r}; there are normal, uniform"
        )
    return _leaf(builder, tuple(int(n) for n in size), distribution)


def dropout(x: Any, rate: float) -> Any:
    """Set each element of x to 0 with probability ``rate``, and divide the others.

    In training every element is kept with probability p = 1 − rate and divided by p, so
    that its mean stays what it is; elements, samples and steps are independent
    (Srivastava et al. 2014, "Dropout", in the form of their section 10). Outside of
    training (evaluate, predict, validation, loss_and_gradient, objective, check) the
    value is x. The rate is rounded to a multiple of 2⁻¹⁶.

    Args:
        x: a value of the program, of any shape.
        rate: at least 0 and less than 1.

    Raises:
        ProgramError: the rate is not such a number.
    """
    builder = current("dropout(...)")
    x = builder.symbol(x)
    number = isinstance(rate, int | float | np.number) and not isinstance(rate, bool)
    if not number or not 0 <= rate < 1 or not kept_share(rate):
        raise ProgramError(
            f"{here()}: the rate of dropout is {rate!r}; it must be a number that is "
            "at least 0 and less than 1"
        )
    if kept_share(rate) == SHARES:
        return x
    return x * _leaf(builder, x.shape, "dropout", float(rate))


def _leaf(
    builder: Builder, shape: Shape, distribution: str, rate: float = 0.0
) -> Symbol:
    """Return random numbers of each sample, which no other call returns."""
    builder.noises += 1
    name = f"noise {builder.noises}"
    params = (("name", name), ("distribution", distribution), ("rate", rate))
    return builder.leaf(NOISE, params, shape)


def kept_share(rate: float) -> int:
    """Return how many of `SHARES` elements a dropout keeps."""
    return SHARES - math.floor(float(rate) * SHARES + 0.5)


def noisy(graph: FlowGraph) -> bool:
    """Return whether a graph has random numbers."""
    return any(node.function is NOISE for node in graph.nodes)


def quiet(graph: FlowGraph) -> FlowGraph:
    """Return a graph with the mean in place of random numbers; itself if it has none.

    Outside of training all graphs are quiet.
    """

    def mean(builder: Builder, node: Node, xs: Sequence[Symbol]) -> Symbol | None:
        del xs
        if node.function is not NOISE:
            return None
        value = MEANS[node.keywords["distribution"]]
        return builder.constant(np.full(node.shape, value))

    return rebuild(graph, mean) if noisy(graph) else graph
