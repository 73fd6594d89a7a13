"""Back-propagation: the reverse topological walk that emits the backward flow graph.

At each point X the walk computes v_X = ∂Output/∂X (lecture, "Efficient computation of
all derivatives"): it starts with the output's adjoint, visits nodes in reverse order,
and passes each node's adjoint to its inputs through the node's transfer function.
Where several consumers pass adjoints to one input, the walk adds them: this addition
is the sum over paths.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dtrain.errors import DtrainError, ProgramError
from dtrain.functions.base import FUNCTIONS, Expression, Kind, broadcast_shape
from dtrain.functions.block_axis import block_sum, to_samples
from dtrain.functions.shape import place
from dtrain.tracing.builder import Builder
from dtrain.tracing.expand import expand
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.symbol import Emitter, Symbol
from dtrain.tracing.trace import user_frames


def differentiate(graph: FlowGraph, output: str | None = None) -> FlowGraph:
    """Extend a graph by the derivatives of one output with respect to all weights.

    The derivatives are summed over the samples of a block. They are additional outputs,
    named ``d output / d weight``. The result is an ordinary flow graph: it can be
    printed, run, and differentiated again.

    Args:
        graph: the forward graph.
        output: the output to differentiate; required if the graph has several.

    Raises:
        ProgramError: if the graph has no such output, or if it has several and none
            is chosen.

    Example:
        >>> from dtrain import program, weight
        >>> from dtrain.gradient.differentiate import differentiate
        >>> @program
        ... def line(x):
        ...     return weight("slope") * x
        >>> print(differentiate(line.trace()))
        line(x) -> line, d line / d slope: 1 weight, 2 functions, 2 levels
          x      ()  input
          slope  ()  weight
          line   ()  slope * x
          3      ()  block_sum(x)
    """
    graph = expand(graph, only_without_vjp=True)
    builder = Builder(graph.name)
    symbols = builder.include(graph)
    name = output or ", ".join(graph.outputs)
    if name not in graph.outputs:
        listed = ", ".join(graph.outputs)
        raise ProgramError(f"differentiate one output of {graph.name}: {listed}")
    top = symbols[graph.outputs[name]]
    weights = [symbols[number] for number in graph.weights.values()]
    adjoints = backward(top, builder.constant(np.ones(top.shape)), weights)
    outputs = {key: symbols[number] for key, number in graph.outputs.items()}
    for key, adjoint in zip(graph.weights, adjoints, strict=True):
        if adjoint is not None:
            outputs[f"d {name} / d {key}"] = adjoint
    return builder.graph(outputs)


def backward(
    output: Symbol, seed: Symbol, wrt: Sequence[Symbol]
) -> list[Symbol | None]:
    """Emit the adjoints of nodes, given that of the output; see `backward_from`."""
    return backward_from([(output, seed)], wrt)


def backward_from(
    starts: Sequence[tuple[Symbol, Symbol]], wrt: Sequence[Symbol]
) -> list[Symbol | None]:
    """Emit the adjoints of nodes, given those of outputs; ``None`` where one is zero.

    An adjoint has its node's shape. An adjoint may be the same for all samples although
    its node is not. The adjoint of a node that all samples share is a sum over the
    samples of a block.

    Args:
        starts: the nodes where the walk starts, each with its adjoint, of its shape.
        wrt: the nodes whose adjoints are returned.
    """
    builder = starts[0][0].builder
    last = max(output.number for output, _ in starts)
    reached = _depends(builder, last, [x.number for x in wrt])
    arrived: dict[int, list[Symbol]] = {}
    for output, seed in starts:
        arrived.setdefault(output.number, []).append(seed)
    for number in range(last, -1, -1):
        if number not in arrived or not reached[number]:
            continue
        node = builder.nodes[number]
        builder.source = node.source  # errors and new nodes refer to this line
        builder.through = node
        v = arrived[number] = [_total(arrived[number])]
        if not node.inputs:
            continue
        if node.function.vjp is None:
            continue  # sign, comparisons, argmax: constant between their jumps
        y = Symbol(builder, number)
        xs = [Symbol(builder, i) for i in node.inputs]
        for x, adjoint in zip(xs, _passed(v[0], y, xs), strict=True):
            if adjoint is not None and reached[x.number]:
                symbol = builder.symbol(adjoint)
                arrived.setdefault(x.number, []).append(unbroadcast(symbol, x, y))
    builder.source = builder.through = None
    return [arrived[x.number][0] if x.number in arrived else None for x in wrt]


def _passed(v: Symbol, y: Symbol, xs: Sequence[Symbol]) -> Sequence[Expression]:
    """Return the adjoint that a node's transfer function passes to each input."""
    function, builder = y.node.function, y.builder
    assert function.vjp is not None  # noqa: S101
    try:
        passed = function.vjp(v, y, *xs, **y.node.keywords)
    except DtrainError:
        raise
    except Exception as error:
        raise builder.error(
            f"the vjp of {function.name} raised {type(error).__name__}\n"
            f"{user_frames(error)}"
        ) from error
    if not isinstance(passed, tuple | list):
        raise builder.error(
            f"the vjp of {function.name} returns a {type(passed).__name__}; return a "
            "tuple, with one adjoint for each input"
        )
    if len(passed) != len(xs):
        raise builder.error(
            f"the vjp of {function.name} returns {len(passed)} adjoints for "
            f"{len(xs)} inputs"
        )
    return passed


def unbroadcast(v: Symbol, x: Symbol, y: Symbol) -> Symbol:
    """Sum an adjoint over the axes along which y's function broadcast its input x.

    These are the axes that are new or had size 1 and, where all samples of a block
    share x but not y, the samples. No other function un-broadcasts.
    """
    if x.node.kind is not Kind.SAMPLE:
        if v.node.kind is Kind.SAMPLE:
            v = _sum_to(v, x, y)
            return v.builder.symbol(block_sum(v))
        if y.node.kind is Kind.SAMPLE:
            v = _sum_to(v, x, y)
            return v.builder.symbol(block_sum(to_samples(v)))
    return _sum_to(v, x, y)


def _sum_to(v: Symbol, x: Symbol, y: Symbol) -> Symbol:
    shape = x.shape
    if v.shape == shape:
        return v
    try:
        full = broadcast_shape(v.shape, shape)
        if full not in (v.shape, shape, y.shape):
            raise ValueError
    except ValueError:
        raise v.builder.error(
            f"the vjp of {y.node.function.name} returns an adjoint of shape {v.shape} "
            f"for an input of shape {shape}"
        ) from None
    if v.shape != full:  # the vjp left out axes along which the adjoint is constant
        v = v.builder.symbol(np.broadcast_to(v, full))
    new = len(full) - len(shape)
    stretched = tuple(
        i for i in range(len(full)) if i < new or shape[i - new] != full[i]
    )
    summed = np.sum(v, axis=stretched) if stretched else v
    return v.builder.symbol(np.reshape(summed, shape))


def _total(parts: Sequence[Symbol]) -> Symbol:
    """Return the sum of the adjoints that consumers passed, in order of arrival.

    The adjoints of several slices of one array are joined into one `place`, so that T
    slices do not cost T arrays of the full shape.
    """
    placed = [part for part in parts if part.node.function is place]
    if len(placed) > 1:
        builder = parts[0].builder
        inputs = [Symbol(builder, i) for part in placed for i in part.node.inputs]
        at = tuple(each for part in placed for each in part.node.keywords["at"])
        joined = builder.symbol(place(*inputs, at=at, shape=placed[0].shape))
        parts = [part for part in parts if part.node.function is not place] + [joined]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _depends(builder: Emitter, last: int, wrt: Sequence[int]) -> list[bool]:
    """Return whether each node up to the last one depends on a node in ``wrt``."""
    depends = [False] * (last + 1)
    for number in wrt:
        if number <= last:
            depends[number] = True
    for number in range(last + 1):
        if not depends[number]:
            depends[number] = any(depends[i] for i in builder.nodes[number].inputs)
    return depends


def surely_reached(graph: FlowGraph) -> set[int]:
    """Return the nodes that an adjoint of an output surely reaches, even if it is zero.

    Custom functions may pass no adjoint, so the nodes behind them are not included.
    """
    found = set(graph.outputs.values())
    waiting = list(found)
    while waiting:
        node = graph.nodes[waiting.pop()]
        function = node.function
        known = function is FUNCTIONS.get(function.name)
        if known and function.differentiable and node.dtype == "real":
            more = set(node.inputs) - found
            found |= more
            waiting += more
    return found
