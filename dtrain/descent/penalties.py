"""Penalties: functions of the weights that are added to the mean loss.

A penalty is a function of the weights by name, in plain NumPy, traced like a program:
``lambda w: 0.1 * np.sum(np.square(w["hidden.W"]))``. It does not depend on samples, so
it is added once: after the sum over all blocks and ranks, and after the scale.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from dtrain.descent.loss_graph import LossGraph
from dtrain.descent.losses import Mean
from dtrain.errors import DtrainError, ProgramError, UsageError
from dtrain.gradient.differentiate import backward
from dtrain.tracing.arrays import stacking
from dtrain.tracing.builder import Builder
from dtrain.tracing.expand import expand
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.source import Source
from dtrain.tracing.symbol import Symbol
from dtrain.tracing.trace import user_frames

__all__ = ["Norms", "Penalty"]

Penalty = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Norms:
    """L1 and L2: λ₁ Σ |w| + λ₂ Σ w², over all weights or some.

    The sum of both is the elastic net (Zou and Hastie, 2005). The derivative of λ₂ Σ w²
    is 2 λ₂ w: with plain gradient descent it equals a weight decay of 2 λ₂. The
    derivative of |w| at 0 is 0.

    Attributes:
        l1: λ₁.
        l2: λ₂.
        of: the names of the weights; empty for all weights.

    Raises:
        UsageError: λ₁ or λ₂ is negative or not finite.

    Example:
        >>> from dtrain import penalties
        >>> float(penalties.Norms(l1=1, l2=0.5)({"w": np.array([1.0, -2.0])}))
        5.5
    """

    l1: float = 0.0
    l2: float = 0.0
    of: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check λ₁ and λ₂."""
        for name in ("l1", "l2"):
            strength = getattr(self, name)
            if not (math.isfinite(strength) and strength >= 0):
                raise UsageError(f"{name} is {strength}; it must be finite and ≥ 0")

    def __call__(self, weights: Mapping[str, Any]) -> Any:
        """Return the penalty of weights by name."""
        total: Any = np.zeros(())
        for name in self.of or weights:
            if self.l1:
                total = total + self.l1 * np.sum(np.abs(weights[name]))
            if self.l2:
                total = total + self.l2 * np.sum(np.square(weights[name]))
        return total


def of_weights(penalty: Penalty, program: FlowGraph) -> LossGraph:
    """Return the graph of a penalty on a program's weights, and its derivatives.

    Raises:
        ProgramError: the penalty cannot be traced, or it does not return one number.
    """
    builder = Builder("penalty")
    weights = _ByName(
        {name: builder.weight(spec) for name, spec in program.specs.items()}
    )
    try:
        with stacking():
            result = penalty(weights)
    except DtrainError:
        raise
    except Exception as error:
        raise ProgramError(
            f"the penalty raised {type(error).__name__} while it was traced\n"
            f"{user_frames(error)}"
        ) from error
    value = _one_number(builder, penalty, result)
    traced = builder.graph({"loss": value})
    graph = expand(traced, only_without_vjp=True)
    builder = Builder("penalty")
    symbols = builder.include(graph)
    wrt = {name: symbols[number] for name, number in graph.weights.items()}
    outputs, gradients = {"loss": symbols[graph.output]}, {}
    one = builder.constant(1.0)
    adjoints = backward(symbols[graph.output], one, list(wrt.values()))
    for name, adjoint in zip(wrt, adjoints, strict=True):
        if adjoint is not None:
            gradients[f"d penalty / d {name}"] = name
            outputs[f"d penalty / d {name}"] = adjoint
    return LossGraph(traced, builder.graph(outputs), Mean(), gradients, (), None)


def _one_number(builder: Builder, penalty: Penalty, result: Any) -> Symbol:
    """Return the penalty's result as a symbol, if it is one number."""
    # The penalty has returned, so an error names its first line.
    builder.source = _source(penalty)
    start = "" if builder.source is None else f"{builder.source}: "
    try:
        value = builder.symbol(result)
    except ProgramError as error:
        if isinstance(result, Symbol | int | float):
            raise  # a symbol of another program, or an int too large for a float
        kind = "dict" if isinstance(result, dict) else type(result).__name__
        advice = (
            "did you forget `return`?"
            if result is None
            else "return one value computed from the weights"
        )
        raise ProgramError(
            f"{start}the penalty must be one number; it returns a {kind}: {advice}"
        ) from error
    finally:
        builder.source = None
    if value.shape != () or value.node.dtype != "real":
        raise ProgramError(
            f"{start}the penalty must be one number; it is {value.node.dtype} of shape "
            f"{value.shape}: sum it with np.sum"
        )
    return value


def _source(penalty: Penalty) -> Source | None:
    """Return the file and first line of a penalty, if it is written in Python."""
    while isinstance(penalty, partial):
        penalty = penalty.func
    function = inspect.unwrap(penalty)
    if not inspect.isroutine(function):
        function = type(function).__call__
    code = getattr(function, "__code__", None)
    return None if code is None else Source(code.co_filename, code.co_firstlineno)


class _ByName(dict[str, Any]):
    """The weights by name; an unknown name raises an error that lists the names."""

    def __missing__(self, name: str) -> Any:
        raise ProgramError(
            f"the penalty asks for a weight {name!r}; there are {', '.join(self)}"
        )


def __dir__() -> list[str]:
    """List the public names, for tab completion."""
    return sorted(__all__)
