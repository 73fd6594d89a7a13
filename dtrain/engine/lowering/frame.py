"""The state of a lowering: the plan so far, and the view of each node's value.

A node's value gets leading axes by how it varies: ``(stack, block)`` for a value of
each sample, ``(stack,)`` for a value of each block, none for a value that all share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dtrain.engine.plans.plan import (
    Buffer,
    External,
    Plan,
    Shape,
    Step,
    View,
    contiguous,
)
from dtrain.functions.base import Kind
from dtrain.gradient.vector import Layout
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import Node, first_weight


class Frame:
    """What the lowering rules use: views, new buffers, and the list of steps.

    Attributes:
        graph: the graph.
        layout: the dtype, and the offset of each weight.
        plan: the plan so far.
        lead: the leading axes of a value, by its kind.
        targets: the slots in which derivatives are computed, by node.
        dotted: products that are computed by the sum that reads them.
        transposed: copies of matrices with their axes in another order.
        values: the views of the nodes' values so far.
    """

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
        self.targets: dict[int, View] = {}
        for output, weight in gradients.items():
            if output in graph.outputs:
                number = graph.outputs[output]
                self.targets.setdefault(number, self.slot_of(weight))
        self.dotted: set[int] = set()
        self.transposed: dict[View, View] = {}  # matrices, once for all readers
        self.values: list[View] = []

    def led(self, view: View, number: int, kind: Kind) -> View:
        """Return a value's view with the leading axes of another kind."""
        have = self.graph.nodes[number].kind
        for axis in range(have, kind):
            view = view.inserted(axis, self.lead[kind][axis])
        return view

    def slot_of(self, weight: str) -> View:
        """Return the view of a weight's slots."""
        node = self.graph.nodes[self.graph.weights[weight]]
        shape = node.shape
        return View(
            self.slots,
            self.layout.offsets[first_weight(node)],
            (self.plan.stack, *shape),
            (self.layout.size, *contiguous(shape)),
        )

    def _buffer(
        self, size: int, dtype: np.dtype[Any], external: External | None = None
    ) -> int:
        self.plan.buffers.append(Buffer(size, dtype, external))
        return len(self.plan.buffers) - 1

    def dtype(self, node: Node) -> np.dtype[Any]:
        """Return the dtype of a node's values in this run."""
        if node.dtype == "real":
            return self.layout.dtype
        return np.dtype(bool if node.dtype == "bool" else np.intp)

    def fresh(self, shape: Shape, dtype: np.dtype[Any]) -> View:
        """Return a view of a new contiguous buffer."""
        buffer = self._buffer(math.prod(shape), dtype)
        return View(buffer, 0, shape, contiguous(shape))

    def result(self, number: int) -> View:
        """Return a view for a node's value: a derivative's slots or a new buffer."""
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
        """Return input i with as many leading and inner axes as node ``number``."""
        x, node = self.graph.nodes[i], self.graph.nodes[number]
        view = self.values[i]
        for _ in range(len(node.shape) - len(x.shape)):
            view = view.inserted(int(x.kind))
        for axis in range(x.kind, node.kind):
            view = view.inserted(axis)
        return view

    def operand(self, i: int, number: int) -> View:
        """Return input i of an elementwise call; a single number has no axes.

        NumPy has a fast path for operands that are contiguous or without axes. An
        operand
        of shape (1, 1) makes a call on small arrays take 2.5 times as long.
        """
        view = self.aligned(i, number)
        if math.prod(view.shape) == 1:
            return View(view.buffer, view.offset, (), ())
        return view

    def compact(self, number: int, view: View, shape: Shape) -> View:
        """Return a view in another shape, with a copy if strides cannot express it."""
        reshaped = view.reshaped(shape)
        if reshaped is None:
            copy = self.fresh(view.shape, self.plan.buffers[view.buffer].dtype)
            self.step(number, "copy", (view,), copy)
            reshaped = copy.reshaped(shape)
        assert reshaped is not None  # noqa: S101  (a contiguous view always can)
        return reshaped

    def packed(self, number: int, view: View, shape: Shape) -> View:
        """Return the same elements as a contiguous array of a shape."""
        if view.strides != contiguous(view.shape):
            copy = self.fresh(view.shape, self.plan.buffers[view.buffer].dtype)
            self.step(number, "copy", (view,), copy)
            view = copy
        return View(view.buffer, view.offset, shape, contiguous(shape))

    def elementwise(self, number: int, node: Node, kernel: str) -> View:
        """Append one elementwise kernel of a node's inputs; return its value."""
        out = self.result(number)
        inputs = tuple(self.operand(i, number) for i in node.inputs)
        self.step(number, kernel, inputs, out)
        return out
