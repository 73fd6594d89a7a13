"""Checking a gradient: along a random direction, against differences of the loss.

For each weight W and a random direction u, back-propagation's ⟨∂Loss/∂W, u⟩ is held
against (Loss(W + hu) − Loss(W − hu)) / 2h, extrapolated from h and h/2 (Richardson), in
float64. A difference that straddles a kink, such as relu's at 0, proves nothing: a
smaller h is tried, and if all straddle one, the kink is named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.columns import Samples
from dtrain.descent import losses
from dtrain.descent.losses import Loss
from dtrain.descent.objective import Objective, objective
from dtrain.engine.engine import Engine
from dtrain.functions.base import Kind
from dtrain.functions.piecewise import real
from dtrain.functions.samples import to_samples
from dtrain.gradient.vector import GradientVector, Weights
from dtrain.parallel.world import SoloWorld
from dtrain.program.builder import Builder
from dtrain.program.expand import expand
from dtrain.program.graph import FlowGraph
from dtrain.program.trace import Program
from dtrain.program.weights import draw
from dtrain.training.evaluate import (
    Inputs,
    as_samples,
    as_weights,
    summed,
    traced,
    whole,
)
from dtrain.training.setup import check_target, columns_in
from dtrain.training.shard import RowBlocks

TOLERANCE = 1e-6
"""The largest relative error that passes; a wrong factor of 1.0005 is 500 times it."""
STEPS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
"""The steps h that are tried, in units of the weight's largest entry or 1.

At the last one only what lies on a kink still straddles it, however wide the program.
"""
_NOISE = 1e-10  # what rounding of the loss may do to a difference, per unit of loss


@dataclass(frozen=True)
class WeightCheck:
    """One weight's derivative along one direction, computed in two ways.

    Attributes:
        weight: its name.
        gradient: by back-propagation.
        difference: by differences of the loss.
        error: how far they are apart, relative to the larger.
        passed: whether that is within the tolerance.
        kinks: the source lines of the kinks that every difference straddled.
    """

    weight: str
    gradient: float
    difference: float
    error: float
    passed: bool
    kinks: tuple[str, ...]


@dataclass(frozen=True)
class GradientCheck:
    """The checks of all weights."""

    weights: Sequence[WeightCheck]

    @property
    def passed(self) -> bool:
        """Whether no weight's gradient is wrong; one at a kink is not known to be."""
        return all(check.passed or check.kinks for check in self.weights)

    def __str__(self) -> str:
        """One line for each weight."""
        width = max((len(check.weight) for check in self.weights), default=0)
        lines = []
        for check in self.weights:
            verdict = "ok" if check.passed else "WRONG"
            if not math.isfinite(check.gradient) or not math.isfinite(check.difference):
                verdict = "NOT FINITE here"
            if check.kinks and not check.passed:
                verdict = f"at a kink: {', '.join(check.kinks)}"
            lines.append(
                f"{check.weight:{width}}  gradient {check.gradient: .9e}  difference "
                f"{check.difference: .9e}  relative error {check.error:.1e}  {verdict}"
            )
        return "\n".join(lines)


def check(
    program: Program,
    inputs: Inputs,
    targets: Any = None,
    *,
    weights: Mapping[str, Any] | None = None,
    loss: str = "square",
    seed: int = 0,
) -> GradientCheck:
    """Check a program's gradient against differences of its loss.

    Args:
        program: the program.
        inputs: as for `dtrain.loss_and_gradient`.
        targets: the targets; random ones if the loss needs some and none are given.
        weights: where to check; by default the initialisers' values.
        loss: the loss.
        seed: of weights, random targets and directions.

    Example:
        >>> import numpy as np
        >>> from dtrain import check, zoo
        >>> check(zoo.lecture, [np.linspace(-1, 1, 5), np.ones(5)]).passed
        True
    """
    samples = as_samples(program, inputs, targets)
    return check_samples(program, samples, losses.named(loss), weights, seed)


def check_samples(
    program: Program,
    samples: Samples,
    loss: Loss,
    weights: Mapping[str, Any] | None,
    seed: int,
) -> GradientCheck:
    """The same, for a data set that is bound to the program's inputs."""
    graph = traced(program, samples)
    joined = objective(graph, loss)
    rng = seeded(seed)
    shape = loss.target_shape(joined.output)
    if samples.target is None and shape is not None:
        target = rng.standard_normal((len(samples), *shape))
        samples = Samples(
            samples.inputs, target, samples.source, (*samples.origins, ("target",))
        )
    check_target(joined, samples)
    values = as_weights(
        joined.layout("float64"),
        draw(graph, seed, "float64") if weights is None else weights,
    )
    probe = _Probe(joined, samples, values)
    _, gradient = probe.loss_and_gradient()
    checks = []
    for name, view in values.values.items():
        direction = rng.standard_normal(view.shape)
        slope = float(np.sum(gradient[name] * direction))
        checks.append(probe.along(name, direction, slope))
    return GradientCheck(checks)


def seeded(seed: int) -> np.random.Generator:
    """A generator for any seed, negative ones too."""
    return np.random.default_rng([abs(seed), int(seed < 0)])


class _Probe:
    """Evaluates the loss, and which pieces apply, at shifted weights."""

    def __init__(self, joined: Objective, samples: Samples, weights: Weights) -> None:
        columns = columns_in(samples, "float64", joined.graph.integers)
        layout = weights.layout
        self.joined, self.weights, self.batch = joined, weights, whole(samples)
        self.vector = GradientVector(layout)
        self.engine = Engine(joined.graph, layout, columns, gradients=joined.gradients)
        graph, self.kinks = _kink_inputs(joined.graph)
        self.watch = Engine(graph, layout, columns)

    def loss_and_gradient(self) -> tuple[float, dict[str, NDArray[Any]]]:
        vector = self.vector
        summed(
            SoloWorld(), self.engine, self.weights, vector, self.batch, len(self.batch)
        )
        vector.scale(self.joined.loss.scale(vector.samples))
        return vector.loss, {name: v.copy() for name, v in vector.values.items()}

    def along(
        self, name: str, direction: NDArray[np.float64], slope: float
    ) -> WeightCheck:
        """Compare the slope with differences, until one straddles no kink."""
        view = self.weights.values[name]
        scale = max(1.0, float(np.max(np.abs(view), initial=0.0)))
        result = None
        for step in STEPS:
            coarse, _, first = self._difference(view, direction, step * scale)
            fine, size, second = self._difference(view, direction, step * scale / 2)
            difference = (4 * fine - coarse) / 3
            gap = abs(slope - difference)
            larger = max(abs(slope), abs(difference))
            allowed = TOLERANCE * larger + _NOISE * size / (step / STEPS[0])
            kinks = tuple(dict.fromkeys(first + second))
            result = WeightCheck(
                name,
                slope,
                difference,
                gap / larger if larger else 0.0,
                passed=bool(gap <= allowed),
                kinks=kinks,
            )
            if result.passed or not kinks:
                break
        assert result is not None  # noqa: S101  (there are steps)
        return result

    def _difference(
        self, view: NDArray[Any], direction: NDArray[Any], step: float
    ) -> tuple[float, float, tuple[str, ...]]:
        """The central difference, the size of the loss, and the kinks straddled."""
        kept = view.copy()
        values, pieces = [], []
        for sign in (1, -1):
            view[...] = kept + sign * step * direction
            self.weights.version += 1
            values.append(self.loss_and_gradient()[0])
            pieces.append(self._pieces())
        view[...] = kept
        self.weights.version += 1
        straddled = tuple(
            source
            for (source, _, _), up, down in zip(self.kinks, *pieces, strict=True)
            if not np.array_equal(up, down)
        )
        size = max(1.0, *map(abs, values))
        return (values[0] - values[1]) / (2 * step), size, straddled

    def _pieces(self) -> list[NDArray[Any]]:
        block = RowBlocks(0, 1, len(self.batch), self.batch.rows)
        outputs = self.watch.run(self.weights, block)
        return [
            np.array(branch(*(outputs[name] for name in names)))
            for _, branch, names in self.kinks
        ]


def _kink_inputs(graph: FlowGraph) -> tuple[FlowGraph, list[Any]]:
    """A graph whose outputs are what functions made of pieces choose by.

    Returns it, and for each such function its line, its ``branch`` and the names of the
    outputs that it takes.
    """
    graph = expand(graph)
    builder = Builder(graph.name)
    symbols = builder.include(graph)
    outputs, kinks = {}, []
    for number, node in enumerate(graph.nodes):
        if node.function.branch is None:
            continue
        names = []
        for place, i in enumerate(node.inputs):
            x = symbols[i]
            if node.function.elementwise:
                x = builder.symbol(np.broadcast_to(x, node.shape))
            if x.node.dtype != "real":
                x = builder.symbol(real(x))
            if x.node.kind is not Kind.SAMPLE:
                x = builder.symbol(to_samples(x))
            names.append(f"{number}.{place}")
            outputs[names[-1]] = x
        kinks.append((str(node.source), node.function.branch, names))
    return builder.graph(outputs), kinks
