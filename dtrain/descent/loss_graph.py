"""Join a program and a loss into one flow graph.

The outputs of the graph are sums over a block of samples: ``loss``, the derivative
``d loss / d W`` of each weight W (before the scale of the loss), and the sums of a
metric.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dtrain.descent.loss import Loss, Target
from dtrain.descent.metrics import Metric
from dtrain.descent.several import Several, Term, terms_of
from dtrain.engine.vectorise.vectorise import vectorise
from dtrain.errors import ProgramError, UsageError, did_you_mean
from dtrain.functions.base import DType, Kind, Shape
from dtrain.functions.block_axis import block_sum, to_samples
from dtrain.gradient.differentiate import backward_from
from dtrain.gradient.layout import Layout
from dtrain.tracing.builder import Builder
from dtrain.tracing.expand import expand
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import first_weight
from dtrain.tracing.symbol import Symbol

WEIGHT = "(sample weight)"
"""The input for the weight of a sample."""


@dataclass(frozen=True)
class Fitted:
    """An output that is fitted.

    Attributes:
        loss: its loss.
        output: the shape of the output.
        target: the kind of a sample's target, if there is one.
    """

    loss: Loss
    output: Shape
    target: Target | None


@dataclass(frozen=True)
class LossGraph:
    """The graph of a program with its loss.

    Attributes:
        program: the program's graph, as it was traced.
        graph: the joined graph; the targets that the loss takes are further inputs.
        loss: the loss, for its scale.
        gradients: the name of each derivative output, with the name of its weight.
        terms: the fitted outputs, each by the name that its target has as an input.
        sums: the names of the outputs beside loss and gradient, in order: the sum of
            the samples' weights, if they have some; then the metric's.
        weighted: whether samples have weights.
        frozen: the weights that the loss is not differentiated by.
    """

    program: FlowGraph
    graph: FlowGraph
    loss: Loss | Several
    gradients: Mapping[str, str]
    terms: Mapping[str, Fitted]
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


@dataclass(frozen=True)
class _Joined:
    """The nodes of outputs and their losses for one sample.

    Attributes:
        terms: as in `LossGraph`.
        outputs: the fitted outputs by name; ``None`` names the only one.
        targets: their targets.
        value: the total loss.
        seeds: the adjoint of each output.
    """

    terms: Mapping[str, Fitted]
    outputs: Mapping[str | None, Symbol]
    targets: Mapping[str | None, Symbol | None]
    value: Any
    seeds: Sequence[Any]

    def sums(self, metric: Metric, given: Mapping[str, Shape]) -> Sequence[Any]:
        """Return the terms of a metric, if the targets have the shapes that are needed.

        If they do not, the data are refused later.
        """
        for name, term in self.terms.items():
            if term.target is not None and term.target.shape != given.get(name):
                return ()
        if None in self.outputs:
            return metric.of_sample(self.outputs[None], self.targets[None])
        return metric.of_sample(self.outputs, self.targets)


def _join(
    builder: Builder,
    outputs: Mapping[str, Symbol],
    loss: Loss | Several,
    given: Mapping[str, Shape],
) -> _Joined:
    """Add the targets as inputs, and the losses; labels stay integers."""
    terms: dict[str, Fitted] = {}
    chosen: dict[str | None, Symbol] = {}
    targets: dict[str | None, Symbol | None] = {}
    values, seeds = [], []
    for term, factor in terms_of(loss):
        output = chosen[term.output] = _chosen(builder, outputs, term)
        takes = _takes(term, output, given)
        terms[term.target] = Fitted(term.loss, output.shape, takes)
        target = None
        if takes is not None:
            kind: DType = "int" if takes.labels else "real"
            target = builder.input(term.target, takes.shape, kind)
        targets[term.output] = target
        value, seed = term.loss.of_sample(output, target)
        values.append(value if term.factor == 1 else term.factor * value)
        seeds.append(seed if factor == 1 else factor * seed)
    total = values[0]
    for value in values[1:]:
        total = total + value
    return _Joined(terms, chosen, targets, total, seeds)


def _chosen(builder: Builder, outputs: Mapping[str, Symbol], term: Term) -> Symbol:
    """Return the output of a term, as a value of every sample."""
    name = term.output
    if name is None and len(outputs) == 1:
        (output,) = outputs.values()
    elif name is None:
        names = list(outputs)
        raise ProgramError(
            f"program {builder.name} has the outputs {', '.join(names)}: name those "
            f"that are fitted, each with its column: target={{{names[0]!r}: COLUMN}} "
            f"(--target {names[0]}=COLUMN)"
        )
    elif name in outputs:
        output = outputs[name]
    else:
        raise UsageError(
            f"program {builder.name} has no output {name!r}; there are "
            f"{', '.join(outputs)}{did_you_mean(name, outputs)}"
        )
    builder.source = output.node.source  # errors of the loss name the output's line
    if output.node.kind is not Kind.SAMPLE:  # the output is the same for all samples
        output = builder.symbol(to_samples(output))
    return output


def _takes(term: Term, output: Symbol, given: Mapping[str, Shape]) -> Target | None:
    try:
        return term.loss.target(output.shape, given.get(term.target))
    except ProgramError as error:
        if term.output is None:
            raise
        raise ProgramError(f"output {term.output!r}: {error}") from None


def sample_loss_graph(
    program: FlowGraph, loss: Loss | Several, given: Mapping[str, Shape]
) -> FlowGraph:
    """Return a program's graph whose only output is the loss of one sample."""
    builder = Builder(program.name)
    symbols = builder.include(program)
    outputs = {name: symbols[number] for name, number in program.outputs.items()}
    joined = _join(builder, outputs, loss, given)
    return builder.graph({"loss": builder.symbol(joined.value)})


def loss_graph(
    program: FlowGraph,
    loss: Loss | Several,
    given: Mapping[str, Shape] | None = None,
    *,
    gradient: bool = True,
    metric: Metric | None = None,
    weighted: bool = False,
    frozen: frozenset[str] = frozenset(),
    as_written: bool = False,
) -> LossGraph:
    """Join a program's graph and a loss.

    Args:
        program: the traced program.
        loss: the loss; for a program with several outputs, those of the fitted ones.
        given: the shape of one sample's target in the data by the name of its input, as
            far as they are known.
        gradient: whether to differentiate the loss.
        metric: a metric whose sums become outputs too.
        weighted: whether samples have weights: each multiplies all terms of its sample.
        frozen: weights that the loss is not differentiated by; they have derivative 0.
        as_written: do not combine similar scalars into arrays, so that each node keeps
            its source line.

    Raises:
        ProgramError: the program has several outputs and the loss is for one, or the
            loss does not fit the program; UsageError: there is no output of that name.
    """
    given = given or {}
    graph = expand(program, only_without_vjp=True)
    if not as_written:
        graph = vectorise(graph, filled=gradient, frozen=frozen)
    builder = Builder(program.name)
    symbols = builder.include(graph)
    named = {name: symbols[number] for name, number in graph.outputs.items()}
    joined = _join(builder, named, loss, given)
    value, seeds = joined.value, joined.seeds
    sums = [] if metric is None else list(joined.sums(metric, given))
    if weighted:
        factor = builder.input(WEIGHT, (), "real")
        value, seeds = value * factor, [seed * factor for seed in seeds]
        sums = [factor, *(each * factor for each in sums)]
    outputs = {"loss": builder.symbol(block_sum(builder.symbol(value)))}
    gradients: dict[str, str] = {}
    if gradient:
        wrt = {
            name: symbols[number]
            for name, number in graph.weights.items()
            if first_weight(graph.nodes[number]) not in frozen
        }
        pairs = zip(joined.outputs.values(), seeds, strict=True)
        starts = [(output, builder.symbol(seed)) for output, seed in pairs]
        adjoints = backward_from(starts, list(wrt.values()))
        for name, adjoint in zip(wrt, adjoints, strict=True):
            if adjoint is not None:
                gradients[f"d loss / d {name}"] = name
                outputs[f"d loss / d {name}"] = adjoint
    names = [f"sum {i}" for i in range(len(sums))]
    for name, each in zip(names, sums, strict=True):
        outputs[name] = builder.symbol(block_sum(builder.symbol(each)))
    graph = builder.graph(outputs)
    return LossGraph(
        program, graph, loss, gradients, joined.terms, names, weighted, frozen
    )
