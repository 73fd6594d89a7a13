"""Weights: the parameters of a program, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.errors import ProgramError, UsageError
from dtrain.tracing.bounds import bounds, check_first, project, rounded
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.initializers import Initializer, initializer
from dtrain.tracing.node import WeightSpec
from dtrain.tracing.source import here
from dtrain.tracing.trace import Program, current, scoped

DTYPES = ("float32", "float64")


def weight(
    name: str,
    shape: int | Sequence[int] = (),
    init: Initializer | str | float | None = None,
    *,
    lower: Any = None,
    upper: Any = None,
) -> Any:
    """Return a parameter of the program that is being traced (lecture: W).

    The same name used twice is one shared weight; its derivatives are added.

    Args:
        name: its name; inside ``with scope("left")`` it becomes ``left.name``.
        shape: its shape; ``()`` is a scalar.
        init: its initial value: a number, a name (zeros, ones, normal, uniform, glorot,
            he) or one of `dtrain.tracing.initializers`. The default is ``glorot`` for
            matrices and ``normal`` for scalars and vectors.
        lower: a number, or an array that broadcasts to the shape: training keeps the
            weight at or above it. Drawn initial values outside the bounds are moved to
            the nearest bound.
        upper: the same, at or below.

    Returns:
        A symbol to compute with.

    Raises:
        ProgramError: outside of a program; a second shape, initialiser or bounds for
            one name; bounds that no number satisfies, or a constant initial value
            outside of them.

    Example:
        >>> from dtrain import init, program
        >>> @program
        ... def decay(t):
        ...     return np.exp(-weight("k", (), 1.0, lower=0) * t)
        >>> print(decay.trace())
        decay(t) -> decay: 1 weight, 3 functions, 4 levels
          t      ()  input
          k      ()  weight ≥ 0
          2      ()  k * t
          3      ()  -2
          decay  ()  exp(3)
    """
    builder = current(f"weight({name!r})")
    size = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    source = here()
    if not name or not isinstance(name, str):
        raise ProgramError(f"{source}: a weight needs a name")
    if not all(isinstance(n, int | np.integer) and n >= 0 for n in size):
        raise ProgramError(f"{source}: weight {name!r} cannot have the shape {shape!r}")
    size = tuple(int(n) for n in size)
    try:
        first = initializer(init, len(size))
        stated = bounds(lower, upper, size)
        check_first(first, stated, size)
    except UsageError as error:
        raise ProgramError(f"{source}: weight {name!r}: {error}") from None
    return builder.weight(WeightSpec(scoped(name), size, first, source, stated))


def init(
    program: Program,
    seed: int = 0,
    dtype: Any = "float64",
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, NDArray[Any]]:
    """Return the initial values of a program's weights, by name.

    Args:
        program: the program.
        seed: any integer.
        dtype: ``float32`` or ``float64``; values are drawn in float64 and rounded.
        shapes: the shapes of the program's inputs for one sample; ``()`` if not given.

    Example:
        >>> from dtrain import init, zoo
        >>> sorted(init(zoo.lecture))
        ['W0', 'W1', 'W2']
    """
    dtype = check_dtype(dtype)
    return draw(program.trace(**dict(shapes or {})), seed, dtype)


def check_dtype(dtype: Any) -> str:
    """Return the name of a dtype that dtrain can train in.

    Raises:
        UsageError: dtrain cannot train in it.
    """
    name = dtype
    if not isinstance(dtype, str):
        try:
            name = np.dtype(dtype).name
        except TypeError:
            name = None
    if name not in DTYPES:
        raise UsageError(f"no dtype {dtype!r}; there are {', '.join(DTYPES)}")
    return str(name)


def draw(graph: FlowGraph, seed: int, dtype: str) -> dict[str, NDArray[Any]]:
    """Return the initial values of a graph's weights, moved into their bounds."""
    values = {}
    for name, spec in graph.specs.items():
        value = spec.initializer.draw(seed, name, spec.shape).astype(dtype)
        if spec.bounds:
            value = np.asarray(value)  # a scalar as an array, to change it in place
            project(value, *rounded(spec.bounds, spec.shape, dtype))
        values[name] = value
    return values
