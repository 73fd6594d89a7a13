"""Lowering: a flow graph becomes a plan.

A node's value gets leading axes by how it varies: ``(stack, block)`` for a sample's,
``(stack,)`` for a block's, none for what all share. Shapes, transposes, slices and
broadcasts cost nothing: they are views. All checks and look-ups are done here, once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.plan import Buffer, External, Plan, Shape, Step, View, contiguous
from dtrain.engine.rules import LOWERINGS, coverage
from dtrain.functions.arithmetic import multiply, square
from dtrain.functions.base import Kind
from dtrain.functions.block_axis import block_sum
from dtrain.functions.shape import Slices, place, reshape
from dtrain.gradient.vector import Layout
from dtrain.tracing.expand import expand
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import CONSTANT, INPUT, SCALARS, WEIGHT, Node


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
        layout: the dtype, and where each weight lies in the weights' flat array.
        block: samples in a block.
        gradients: which output is which weight's derivative; those are written to
            the slots of a GradientVector.
        stack: blocks in one call; it changes no bits.
    """
    return Lowering(expand(graph), layout, block, stack, gradients or {}).plan


class Lowering:
    """The state of one lowering: the plan so far, and where each value is."""

    def __init__(
        self,
        graph: FlowGraph,
        layout: Layout,
        block: int,
        stack: int,
        gradients: Mapping[str, str],
    ) -> None:
        self.graph = graph
        self.layout = layout
        self.plan = Plan(stack, block)
        self.lead = {
            Kind.WEIGHTS: (),
            Kind.BLOCK: (stack,),
            Kind.SAMPLE: (stack, block),
        }
        self.weights = self._buffer(layout.size, layout.dtype, "weights")
        self.slots = self._buffer(stack * layout.size, layout.dtype, "slots")
        self.dotted = _dotted(graph)
        self.targets: dict[int, View] = {}
        for output, weight in gradients.items():
            if output in graph.outputs:
                number = graph.outputs[output]
                self.targets.setdefault(number, self._slot(weight))
        self._target_parts()
        self.turned: dict[View, View] = {}  # matrices, once for all that read them
        self.values: list[View] = []
        for number, node in enumerate(graph.nodes):
            self.values.append(self._lower(number, node))
        self._finish(gradients)

    def _target_parts(self) -> None:
        """Let what a derivative is made up of be computed in its slot, not copied."""
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
                own = node.kind is nodes[i].kind is Kind.BLOCK and uses[i] == 1
                if own and part is not None and i not in self.targets:
                    self.targets[i] = part
                    waiting.append(i)

    def _finish(self, gradients: Mapping[str, str]) -> None:
        """Name the outputs; copy derivatives that were not computed in place."""
        for output, number in self.graph.outputs.items():
            view = self.values[number]
            if output in gradients:
                slot = self._slot(gradients[output])
                if view != slot:
                    self.plan.steps.append(
                        Step("copy", (self.led(view, number, Kind.BLOCK),), slot)
                    )
                view = slot
            self.plan.outputs[output] = view

    def led(self, view: View, number: int, kind: Kind) -> View:
        """A value with the leading axes of another kind."""
        have = self.graph.nodes[number].kind
        for axis in range(have, kind):
            view = view.inserted(axis, self.lead[kind][axis])
        return view

    def _slot(self, weight: str) -> View:
        node = self.graph.nodes[self.graph.weights[weight]]
        shape = node.shape
        return View(
            self.slots,
            self.layout.offsets[_first(node)],
            (self.plan.stack, *shape),
            (self.layout.size, *contiguous(shape)),
        )

    def _buffer(
        self, size: int, dtype: np.dtype[Any], external: External | None = None
    ) -> int:
        self.plan.buffers.append(Buffer(size, dtype, external))
        return len(self.plan.buffers) - 1

    def dtype(self, node: Node) -> np.dtype[Any]:
        """The dtype of a node's values in this run."""
        if node.dtype == "real":
            return self.layout.dtype
        return np.dtype(bool if node.dtype == "bool" else np.intp)

    def fresh(self, shape: Shape, dtype: np.dtype[Any]) -> View:
        """A new contiguous buffer."""
        buffer = self._buffer(math.prod(shape), dtype)
        return View(buffer, 0, shape, contiguous(shape))

    def result(self, number: int) -> View:
        """Where a node's value goes: its slot if it is a derivative, or a buffer."""
        node = self.graph.nodes[number]
        target = self.targets.get(number)
        if target is not None and node.kind is Kind.BLOCK:
            return target
        return self.fresh(self.lead[node.kind] + node.shape, self.dtype(node))

    def step(
        self,
        number: int,
        kernel: str,
        inputs: tuple[View, ...],
        out: View,
        *params: Any,
    ) -> None:
        """Append a step of a node, to run once or for every block."""
        once = self.graph.nodes[number].kind is Kind.WEIGHTS
        steps = self.plan.once if once else self.plan.steps
        steps.append(Step(kernel, inputs, out, params))

    def aligned(self, i: int, number: int) -> View:
        """Input i with as many leading and inner axes as node ``number`` has."""
        x, node = self.graph.nodes[i], self.graph.nodes[number]
        view = self.values[i]
        for _ in range(len(node.shape) - len(x.shape)):
            view = view.inserted(int(x.kind))
        for axis in range(x.kind, node.kind):
            view = view.inserted(axis)
        return view

    def operand(self, i: int, number: int) -> View:
        """Input i of an elementwise call; one number has no axes.

        NumPy has a short way for operands that are contiguous or without axes; one of
        shape (1, 1) costs a call of small arrays two and a half times the time.
        """
        view = self.aligned(i, number)
        if math.prod(view.shape) == 1:
            return View(view.buffer, view.offset, (), ())
        return view

    def compact(self, number: int, view: View, shape: Shape) -> View:
        """A view in another shape, by a copy if strides cannot say it."""
        reshaped = view.reshaped(shape)
        if reshaped is None:
            copy = self.fresh(view.shape, self.plan.buffers[view.buffer].dtype)
            self.step(number, "copy", (view,), copy)
            reshaped = copy.reshaped(shape)
        assert reshaped is not None  # noqa: S101  (a contiguous view always can)
        return reshaped

    def packed(self, number: int, view: View, shape: Shape) -> View:
        """The same elements in C order in a shape, side by side in memory."""
        if view.strides != contiguous(view.shape):
            copy = self.fresh(view.shape, self.plan.buffers[view.buffer].dtype)
            self.step(number, "copy", (view,), copy)
            view = copy
        return View(view.buffer, view.offset, shape, contiguous(shape))

    def _lower(self, number: int, node: Node) -> View:
        if node.function is INPUT:
            view = self.fresh(self.lead[Kind.SAMPLE] + node.shape, self.dtype(node))
            assert node.name is not None  # noqa: S101
            self.plan.inputs[node.params[0][1]] = view
            return view
        if node.function in (WEIGHT, SCALARS):
            start = self.layout.offsets[_first(node)]
            return View(self.weights, start, node.shape, contiguous(node.shape))
        if node.function is CONSTANT:
            return self._constant(node)
        if number in self.dotted:
            return self.values[node.inputs[0]]  # its one reader computes it as well
        if node.function.elementwise:
            return self.elementwise(number, node, node.function.name)
        if node.function.code:
            return self._called(number, node)
        return LOWERINGS[node.function.name](self, number, node)

    def _called(self, number: int, node: Node) -> View:
        """Append a call of a user's own function, which no kernel is for."""
        inputs = tuple(self.led(self.values[i], i, node.kind) for i in node.inputs)
        out = self.result(number)
        self.step(number, "own", inputs, out, node.function, str(node.source))
        return out

    def _constant(self, node: Node) -> View:
        value: NDArray[Any] = node.params[0][1].value
        view = self.fresh(node.shape, self.dtype(node))
        self.plan.constants.append((view, value))
        return view

    def elementwise(self, number: int, node: Node, kernel: str) -> View:
        """Append one elementwise kernel of a node's inputs; return its value."""
        out = self.result(number)
        inputs = tuple(self.operand(i, number) for i in node.inputs)
        self.step(number, kernel, inputs, out)
        return out


def _first(node: Node) -> str:
    """The name of a weight, or of the first in a vector of scalars.

    The others follow it, because a layout has its weights in the order of their names.
    """
    name: str = node.keywords.get("names", (node.name,))[0]
    return name


def _dotted(graph: FlowGraph) -> set[int]:
    """The products of samples' scalars that are only summed over the block.

    Such is the derivative of a scalar weight, Σ v·x, and the square error: one dot
    product.
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
    """How often each node is read, outputs once more."""
    uses = [0] * len(graph.nodes)
    for number in (i for node in graph.nodes for i in node.inputs):
        uses[number] += 1
    for number in graph.outputs.values():
        uses[number] += 1
    return uses
