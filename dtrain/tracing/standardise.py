"""Standardise a value of the data by statistics that are kept as weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dtrain.errors import ProgramError
from dtrain.functions.arithmetic import subtract
from dtrain.functions.piecewise import real
from dtrain.tracing.builder import Builder
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.initializers import ones, zeros
from dtrain.tracing.node import INPUT, NOISE, SCALARS, WEIGHT, WeightSpec
from dtrain.tracing.source import here
from dtrain.tracing.symbol import Symbol
from dtrain.tracing.trace import current, scoped


def standardise(x: Any, *, name: str | None = None) -> Any:
    """Return (x − mean) / deviation, with both over the training data.

    Each element of x has its own mean and its own deviation, the root of the mean
    squared distance from the mean. Both are computed once when training starts, exactly
    over all ranks, before the first step. Weights of samples do not count. An element
    that is the same in all samples has the deviation 1.

    They are weights, named ``standardise.x.mean`` and ``standardise.x.deviation`` for
    an input x, that no optimizer moves. So they are in weights files and checkpoints,
    and predict, evaluate, validation and training from given weights use the same.

    Args:
        x: an input, or a value that depends on inputs alone, not on weights or noise.
        name: a prefix of the names; it may be left out for an input.

    Raises:
        ProgramError: x depends on something else, it has no name, or the name is that
            of another value.
    """
    builder = current("standardise(...)")
    x = builder.symbol(x)
    _check(builder, x)
    if name is None:
        if x.node.function is not INPUT:
            raise ProgramError(
                f"{here()}: standardise needs name=... for a value that is no input"
            )
        name = f"standardise.{x.node.name}"
    if x.node.dtype != "real":
        x = builder.symbol(real(x))
    mean, deviation = (
        _statistic(builder, f"{name}.{what}", x.shape) for what in ("mean", "deviation")
    )
    for node in builder.nodes:
        reads = node.function is subtract and node.inputs[1] == mean.number
        if reads and node.inputs[0] != x.number:
            raise ProgramError(
                f"{here()}: two values are standardised as {name!r}; the first is "
                f"at {node.source}: give them different names with name=..."
            )
    return builder.emit(subtract, (x, mean), {}) / deviation


def _statistic(builder: Builder, name: str, shape: tuple[int, ...]) -> Symbol:
    first = ones if name.endswith("deviation") else zeros
    spec = WeightSpec(scoped(name), shape, first, here(), trainable=False)
    other = builder.specs.get(spec.name)
    if other is not None and other.trainable:
        raise ProgramError(
            f"{here()}: standardise keeps {spec.name!r}, but {other.source} has a "
            "weight of that name: give another name with name=..."
        )
    return builder.weight(spec)


def _check(builder: Builder, x: Symbol) -> None:
    """Check that a value depends on inputs alone.

    Raises:
        ProgramError: it does not.
    """
    pending, seen, of_data = [x.number], set[int](), False
    while pending:
        number = pending.pop()
        node = builder.nodes[number]
        if node.function in (WEIGHT, SCALARS, NOISE):
            what = "noise" if node.function is NOISE else f"weight {node.name!r}"
            raise ProgramError(
                f"{here()}: standardise takes a value that depends on inputs alone; "
                f"this one depends on the {what} of {node.source}"
            )
        of_data = of_data or node.function is INPUT
        fresh = set(node.inputs) - seen
        seen |= fresh
        pending.extend(fresh)
    if not of_data:
        raise ProgramError(
            f"{here()}: standardise takes a value that depends on an input; this one "
            "is a constant"
        )


def standardised(graph: FlowGraph) -> Iterator[tuple[str, str, int]]:
    """Yield the names of mean and deviation, and the node, of what is standardised."""
    names = {
        number: name
        for name, number in graph.weights.items()
        if name in graph.specs and not graph.specs[name].trainable
    }
    for node in graph.nodes:
        if node.function is subtract and node.inputs[1] in names:
            mean = names[node.inputs[1]]
            yield mean, f"{mean.removesuffix('.mean')}.deviation", node.inputs[0]
