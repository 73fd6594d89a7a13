"""Lowering: turn a flow graph into a plan.

A node's value gets leading axes by how it varies: ``(stack, block)`` if by sample,
``(stack,)`` if by block, none if it is shared. Shapes, transposes, slices and
broadcasts are views and cost nothing. All checks and look-ups are made here, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.lowering.frame import Frame
from dtrain.engine.lowering.indexing import coverage
from dtrain.engine.lowering.rules import LOWERINGS
from dtrain.engine.plans.plan import (
    Plan,
    Step,
    View,
    contiguous,
)
from dtrain.functions.arithmetic import multiply, square
from dtrain.functions.base import Kind
from dtrain.functions.block_axis import block_sum
from dtrain.functions.shape import Slices, place, reshape
from dtrain.gradient.vector import Layout
from dtrain.tracing.expand import expand
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import CONSTANT, INPUT, SCALARS, WEIGHT, Node, first_weight


def plan(
    graph: FlowGraph,
    layout: Layout,
    block: int,
    *,
    gradients: Mapping[str, str] | None = None,
    stack: int = 1,
) -> Plan:
    """Plan a graph for blocks of one length.

    Args:
        graph: any flow graph.
        layout: the dtype, and the offset of each weight.
        block: samples in a block.
        gradients: the weight that each output is the derivative by; these are written
            to the slots of a GradientVector.
        stack: blocks in one call; it changes no bits.
    """
    return Lowering(expand(graph), layout, block, stack, gradients or {}).plan


class Lowering(Frame):
    """Lowers every node of a graph, in order."""

    def __init__(
        self,
        graph: FlowGraph,
        layout: Layout,
        block: int,
        stack: int,
        gradients: Mapping[str, str],
    ) -> None:
        super().__init__(graph, layout, block, stack, gradients)
        self.dotted = _dotted(graph)
        self._target_parts()
        for number, node in enumerate(graph.nodes):
            self.values.append(self._lower(number, node))
        self._finish(gradients)

    def _target_parts(self) -> None:
        """Let the parts of a derivative be computed in its slots, not copied there."""
        nodes, uses = self.graph.nodes, _uses(self.graph)
        waiting = list(self.targets)
        while waiting:
            number = waiting.pop()
            node, slot = nodes[number], self.targets[number]
            parts: list[tuple[int, View | None]] = []
            if node.function is reshape:
                (i,) = node.inputs
                parts = [(i, slot.reshaped((self.plan.stack, *nodes[i].shape)))]
            elif node.function is place and np.all(coverage(node) == 1):
                parts = [
                    (i, slot.sliced(at.axes))
                    for i, at in zip(node.inputs, node.keywords["at"], strict=True)
                    if isinstance(at, Slices)
                ]
            for i, part in parts:
                alone = node.kind is nodes[i].kind is Kind.BLOCK and uses[i] == 1
                if alone and part is not None and i not in self.targets:
                    self.targets[i] = part
                    waiting.append(i)

    def _finish(self, gradients: Mapping[str, str]) -> None:
        """Name the outputs; copy derivatives that were not computed in their slots."""
        for output, number in self.graph.outputs.items():
            view = self.values[number]
            if output in gradients:
                slot = self.slot_of(gradients[output])
                if view != slot:
                    self.plan.steps.append(
                        Step("copy", (self.led(view, number, Kind.BLOCK),), slot)
                    )
                view = slot
            self.plan.outputs[output] = view

    def _lower(self, number: int, node: Node) -> View:
        if node.function is INPUT:
            view = self.fresh(self.lead[Kind.SAMPLE] + node.shape, self.dtype(node))
            assert node.name is not None  # noqa: S101
            self.plan.inputs[node.params[0][1]] = view
            return view
        if node.function in (WEIGHT, SCALARS):
            start = self.layout.offsets[first_weight(node)]
            return View(self.weights, start, node.shape, contiguous(node.shape))
        if node.function is CONSTANT:
            return self._constant(node)
        if number in self.dotted:
            return self.values[node.inputs[0]]  # its only reader computes it
        if node.function.elementwise:
            return self.elementwise(number, node, node.function.name)
        if node.function.code:
            return self._called(number, node)
        return LOWERINGS[node.function.name](self, number, node)

    def _called(self, number: int, node: Node) -> View:
        """Append a call of a custom function, which has no kernel."""
        inputs = tuple(self.led(self.values[i], i, node.kind) for i in node.inputs)
        out = self.result(number)
        self.step(number, "custom", inputs, out, node.function, str(node.source))
        return out

    def _constant(self, node: Node) -> View:
        value: NDArray[Any] = node.params[0][1].value
        view = self.fresh(node.shape, self.dtype(node))
        self.plan.constants.append((view, value))
        return view


def _dotted(graph: FlowGraph) -> set[int]:
    """Return the products of scalars of samples that are only summed over the block.

    The derivative of a scalar weight, Σ v·x, is such a sum, and so is the square error:
    one dot product.
    """
    uses = _uses(graph)
    found = set()
    for node in graph.nodes:
        if node.function is block_sum and uses[node.inputs[0]] == 1:
            product = graph.nodes[node.inputs[0]]
            factors = [graph.nodes[i] for i in product.inputs]
            if product.function in (multiply, square) and all(
                (factor.kind, factor.shape) == (Kind.SAMPLE, ()) for factor in factors
            ):
                found.add(node.inputs[0])
    return found


def _uses(graph: FlowGraph) -> list[int]:
    """Return how often each node is read; an output counts once more."""
    uses = [0] * len(graph.nodes)
    for number in (i for node in graph.nodes for i in node.inputs):
        uses[number] += 1
    for number in graph.outputs.values():
        uses[number] += 1
    return uses
