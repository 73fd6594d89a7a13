"""The objective: a program and a loss, joined into one graph that is to be run.

Its outputs are sums over a block: ``loss``, the derivative ``d loss / d W`` of each
weight W up to the loss's scale, and, for one-hot targets, ``correct``, the number of
samples whose largest output is that of the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dtrain.descent.losses import Loss
from dtrain.engine.vectorise import vectorise
from dtrain.errors import ProgramError
from dtrain.functions.base import Kind
from dtrain.functions.samples import block_sum, to_samples
from dtrain.gradient.differentiate import backward
from dtrain.gradient.vector import Layout
from dtrain.program.builder import Builder
from dtrain.program.expand import expand
from dtrain.program.graph import FlowGraph
from dtrain.program.symbol import Symbol

TARGET = "(target)"
"""The input that holds the target; no parameter of a program can have this name."""


@dataclass(frozen=True)
class Objective:
    """A graph with its loss.

    Attributes:
        graph: outputs as above; further inputs: `TARGET`, if the loss takes a target.
        loss: the loss, for its scale.
        gradients: which output is which weight's derivative.
        output: the shape of the program's output.
    """

    graph: FlowGraph
    loss: Loss
    gradients: Mapping[str, str]
    output: tuple[int, ...]

    def layout(self, dtype: str, metrics: int = 0) -> Layout:
        """The layout of the program's weights."""
        shapes = {name: spec.shape for name, spec in self.graph.specs.items()}
        return Layout.of(shapes, dtype, metrics)


def objective(
    program: FlowGraph, loss: Loss, *, gradient: bool = True, correct: bool = False
) -> Objective:
    """Join a program's graph and a loss.

    Args:
        program: the traced program, with one output.
        loss: the loss.
        gradient: differentiate as well.
        correct: count the samples whose largest output is the target's.

    Raises:
        ProgramError: if the program has several outputs, or the loss does not fit it.
    """
    if len(program.outputs) != 1:
        raise ProgramError(
            f"program {program.name} has the outputs {', '.join(program.outputs)}; a "
            "loss takes a program with one"
        )
    program = expand(program, only_without_vjp=True)
    program = vectorise(program, filled=gradient)
    builder = Builder(program.name)
    symbols = builder.include(program)
    output = symbols[program.output]
    if output.node.kind is not Kind.SAMPLE:  # a sample's, though all have the same
        output = builder.symbol(to_samples(output))
    shape = loss.target_shape(output.shape)
    target = None if shape is None else builder.input(TARGET, shape)
    value, seed = loss.of_sample(output, target)
    outputs = {"loss": builder.symbol(block_sum(builder.symbol(value)))}
    gradients: dict[str, str] = {}
    if gradient:
        wrt = {name: symbols[number] for name, number in program.weights.items()}
        adjoints = backward(output, builder.symbol(seed), list(wrt.values()))
        for name, adjoint in zip(wrt, adjoints, strict=True):
            if adjoint is not None:
                gradients[f"d loss / d {name}"] = name
                outputs[f"d loss / d {name}"] = adjoint
    if correct:
        outputs["correct"] = _correct(output, target)
    return Objective(builder.graph(outputs), loss, gradients, output.shape)


def _correct(output: Symbol, target: Symbol | None) -> Symbol:
    hit = np.equal(np.argmax(output), np.argmax(target))  # type: ignore[arg-type]
    return output.builder.symbol(block_sum(hit))
