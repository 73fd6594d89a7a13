"""Join a program and a loss into one flow graph.

The outputs of the graph are sums over a block of samples: ``loss``, the derivative
``d loss / d W`` of each weight W (before the scale of the loss), and the sums of a
metric.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dtrain.descent.loss import Loss, Target
from dtrain.descent.metrics import Metric
from dtrain.engine.vectorise.vectorise import vectorise
from dtrain.errors import ProgramError, UsageError
from dtrain.functions.base import Kind, Shape
from dtrain.functions.block_axis import block_sum, to_samples
from dtrain.gradient.differentiate import backward
from dtrain.gradient.vector import Layout
from dtrain.tracing.builder import Builder
from dtrain.tracing.expand import expand
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import first_weight
from dtrain.tracing.padded import by_rows, mask
from dtrain.tracing.symbol import Symbol

TARGET = "(target)"
"""The input for the target. No parameter of a Python function can have this name."""
WEIGHT = "(sample weight)"
"""The input for the weight of a sample."""


@dataclass(frozen=True)
class LossGraph:
    """The graph of a program with its loss.

    Attributes:
        program: the program's graph, as it was traced.
        graph: the joined graph; `TARGET` is one more input if the loss takes a target.
        loss: the loss, for its scale.
        gradients: the name of each derivative output, with the name of its weight.
        output: the shape of the program's output.
        target: the kind of a sample's target, if there is one.
        sums: the names of the outputs beside loss and gradient, in order: the sum of
            the samples' weights, if they have some; then the metric's.
        weighted: whether samples have weights.
        frozen: the weights that the loss is not differentiated by.
    """

    program: FlowGraph
    graph: FlowGraph
    loss: Loss
    gradients: Mapping[str, str]
    output: Shape
    target: Target | None
    sums: Sequence[str] = ()
    weighted: bool = False
    frozen: frozenset[str] = frozenset()

    @cached_property
    def moving(self) -> dict[str, tuple[str, ...]]:
        """The weights that the loss depends on and that are not frozen.

        Scalars that form one vector count as one, named ``first..last``; the names in
        it are the values.
        """
        nodes, weights = self.graph.nodes, self.graph.weights
        moving = sorted(name for name in self.gradients.values())
        return {
            name: nodes[weights[name]].keywords.get("names", (name,)) for name in moving
        }

    @property
    def unused(self) -> list[str]:
        """The weights that the loss does not depend on and that are not frozen."""
        nodes, weights = self.graph.nodes, self.graph.weights
        return sorted(
            name
            for name in set(weights) - set(self.gradients.values())
            if first_weight(nodes[weights[name]]) not in self.frozen
        )

    def layout(self, dtype: str) -> Layout:
        """Return the layout of the vector of the program's weights and the sums."""
        nodes, outputs = self.graph.nodes, self.graph.outputs
        sums = sum(math.prod(nodes[outputs[name]].shape) for name in self.sums)
        shapes = {name: spec.shape for name, spec in self.graph.specs.items()}
        specs = self.program.specs.items()
        bounds = {name: spec.bounds for name, spec in specs if spec.bounds}
        return Layout.of(shapes, dtype, sums, weighted=self.weighted, bounds=bounds)


def sample_loss_graph(
    program: FlowGraph, loss: Loss, given: Shape | None, rows: str | None = None
) -> FlowGraph:
    """Return a program's graph whose only output is the loss of one sample."""
    builder = Builder(program.name)
    symbols = builder.include(program)
    output = symbols[program.output]
    takes = loss.target(output.shape, given)
    present = _present(loss, program, symbols, takes, rows)
    value, _ = loss.of_sample(output, _target(builder, takes), **present)
    return builder.graph({"loss": builder.symbol(value)})


def _present(
    loss: Loss,
    graph: FlowGraph,
    symbols: Sequence[Symbol],
    takes: Target | None,
    rows: str | None,
) -> dict[str, Any]:
    """Return which rows of a ragged target count, as a keyword for the loss."""
    if rows is None or takes is None or not takes.shape:
        return {}
    if "present" not in inspect.signature(loss.of_sample).parameters:
        raise UsageError(
            f"loss {loss.name!r} takes no ragged targets: its of_sample has no "
            "argument `present`, which says which rows count"
        )
    return {"present": mask(symbols[graph.inputs[rows]], takes.shape[0])}


def _target(builder: Builder, takes: Target | None) -> Symbol | None:
    """Add the target as an input; labels stay integers."""
    if takes is None:
        return None
    return builder.input(TARGET, takes.shape, "int" if takes.labels else "real")


def loss_graph(
    program: FlowGraph,
    loss: Loss,
    given: Shape | None = None,
    *,
    gradient: bool = True,
    metric: Metric | None = None,
    weighted: bool = False,
    frozen: frozenset[str] = frozenset(),
    as_written: bool = False,
    rows: str | None = None,
) -> LossGraph:
    """Join a program's graph and a loss.

    Args:
        program: the traced program, with one output.
        loss: the loss.
        given: the shape of one sample's target in the data, if it is known.
        gradient: whether to differentiate the loss.
        metric: a metric whose sums become outputs too.
        weighted: whether samples have weights: each multiplies all terms of its sample.
        frozen: weights that the loss is not differentiated by; they have derivative 0.
        as_written: do not combine similar scalars into arrays, so that each node keeps
            its source line.
        rows: the input with the number of a ragged target's rows; the loss counts no
            padding.

    Raises:
        ProgramError: the program has several outputs, or the loss does not fit it.
    """
    if len(program.outputs) != 1:
        raise ProgramError(
            f"program {program.name} has the outputs {', '.join(program.outputs)}; a "
            "loss takes a program with one output"
        )
    graph = expand(program, only_without_vjp=True)
    if not as_written:
        graph = vectorise(graph, filled=gradient, frozen=frozen)
    builder = Builder(program.name)
    symbols = builder.include(graph)
    output = symbols[graph.output]
    builder.source = output.node.source  # errors of the loss name the output's line
    if output.node.kind is not Kind.SAMPLE:  # the output is the same for all samples
        output = builder.symbol(to_samples(output))
    takes = loss.target(output.shape, given)
    target = _target(builder, takes)
    present = _present(loss, graph, symbols, takes, rows)
    value, seed = loss.of_sample(output, target, **present)
    if present:
        seed = np.where(by_rows(present["present"], np.ndim(seed)), seed, 0)
    sums: list[Any] = []
    if metric is not None and takes is not None and takes.shape == given:
        sums = list(metric.of_sample(output, target, **present))
    if weighted:
        factor = builder.input(WEIGHT, (), "real")
        value, seed = value * factor, seed * factor
        sums = [factor, *(each * factor for each in sums)]
    outputs = {"loss": builder.symbol(block_sum(builder.symbol(value)))}
    gradients: dict[str, str] = {}
    if gradient:
        wrt = {
            name: symbols[number]
            for name, number in graph.weights.items()
            if first_weight(graph.nodes[number]) not in frozen
        }
        adjoints = backward(output, builder.symbol(seed), list(wrt.values()))
        for name, adjoint in zip(wrt, adjoints, strict=True):
            if adjoint is not None:
                gradients[f"d loss / d {name}"] = name
                outputs[f"d loss / d {name}"] = adjoint
    names = [f"sum {i}" for i in range(len(sums))]
    for name, each in zip(names, sums, strict=True):
        outputs[name] = builder.symbol(block_sum(builder.symbol(each)))
    graph = builder.graph(outputs)
    return LossGraph(
        program, graph, loss, gradients, output.shape, takes, names, weighted, frozen
    )
