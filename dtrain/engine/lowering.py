"""Lowering: a flow graph becomes a plan.

A node's value gets leading axes by how it varies: ``(stack, block)`` for a sample's,
``(stack,)`` for a block's, none for what all share. Shapes, transposes, slices and
broadcasts cost nothing: they are views. All checks and look-ups are done here, once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.engine import products
from dtrain.engine.plan import Buffer, External, Plan, Shape, Step, View, contiguous
from dtrain.functions.arithmetic import multiply
from dtrain.functions.base import BaseFunction, Kind
from dtrain.functions.samples import block_sum
from dtrain.functions.shape import Slices
from dtrain.gradient.vector import Layout
from dtrain.program.expand import expand
from dtrain.program.graph import CONSTANT, INPUT, WEIGHT, FlowGraph, Node


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
    return _Lowering(expand(graph), layout, block, stack, gradients or {}).plan


class _Lowering:
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
        self.values: list[View] = []
        for number, node in enumerate(graph.nodes):
            self.values.append(self._lower(number, node))
        self._finish(gradients)

    def _finish(self, gradients: Mapping[str, str]) -> None:
        """Name the outputs; copy derivatives that were not computed in place."""
        for output, number in self.graph.outputs.items():
            view = self.values[number]
            if output in gradients:
                slot = self._slot(gradients[output])
                if view != slot:
                    self.plan.steps.append(
                        Step("copy", (self._led(view, number, Kind.BLOCK),), slot)
                    )
                view = slot
            self.plan.outputs[output] = view

    def _led(self, view: View, number: int, kind: Kind) -> View:
        """A value with the leading axes of another kind."""
        have = self.graph.nodes[number].kind
        for axis in range(have, kind):
            view = view.inserted(axis, self.lead[kind][axis])
        return view

    def _slot(self, weight: str) -> View:
        shape = self.layout.shapes[weight]
        return View(
            self.slots,
            self.layout.offsets[weight],
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

    def _lower(self, number: int, node: Node) -> View:
        if node.function is INPUT:
            view = self.fresh(self.lead[Kind.SAMPLE] + node.shape, self.layout.dtype)
            assert node.name is not None  # noqa: S101
            self.plan.inputs[node.params[0][1]] = view
            return view
        if node.function is WEIGHT:
            start = self.layout.offsets[node.params[0][1]]
            return View(self.weights, start, node.shape, contiguous(node.shape))
        if node.function is CONSTANT:
            return self._constant(node)
        if number in self.dotted:
            return self.values[node.inputs[0]]  # its one reader computes it as well
        if node.function.elementwise:
            return self._elementwise(number, node, node.function.name)
        return _LOWERINGS[node.function.name](self, number, node)

    def _constant(self, node: Node) -> View:
        value: NDArray[Any] = node.params[0][1].value
        view = self.fresh(node.shape, self.dtype(node))
        self.plan.constants.append((view, value))
        return view

    def _elementwise(self, number: int, node: Node, kernel: str) -> View:
        out = self.result(number)
        inputs = tuple(self.operand(i, number) for i in node.inputs)
        self.step(number, kernel, inputs, out)
        return out


def _dotted(graph: FlowGraph) -> set[int]:
    """The products of samples' scalars that are only summed over the block.

    Such is the derivative of a scalar weight, Σ v·x: one dot product.
    """
    uses = [0] * len(graph.nodes)
    for number in (i for node in graph.nodes for i in node.inputs):
        uses[number] += 1
    for number in graph.outputs.values():
        uses[number] += 1
    found = set()
    for node in graph.nodes:
        if node.function is block_sum and uses[node.inputs[0]] == 1:
            product = graph.nodes[node.inputs[0]]
            factors = [graph.nodes[i] for i in product.inputs]
            if product.function is multiply and all(
                (factor.kind, factor.shape) == (Kind.SAMPLE, ()) for factor in factors
            ):
                found.add(node.inputs[0])
    return found


def _kernel(name: str) -> Callable[[_Lowering, int, Node], View]:
    """The lowering of a function that is one elementwise kernel."""
    return lambda low, number, node: low._elementwise(number, node, name)


def _where(low: _Lowering, number: int, node: Node) -> View:
    """A choice; where one side is 0, as in most adjoints, a mask."""
    _, a, b = (low.graph.nodes[i].constant for i in node.inputs)
    inputs = tuple(low.operand(i, number) for i in node.inputs)
    out = low.result(number)
    if node.dtype != "real":
        low.step(number, "choose", inputs, out)
    elif b is not None and _is_zero(b):
        low.step(number, "keep", inputs[:2], out)
    elif a is not None and _is_zero(a):
        low.step(number, "drop", (inputs[0], inputs[2]), out)
    else:
        low.step(number, "select", inputs, out)
    return out


def _is_zero(value: NDArray[Any]) -> bool:
    """Whether all is +0; −0 has another bit."""
    return not value.any() and not np.signbit(value).any()


def _last_axis(kernel: str) -> Callable[[_Lowering, int, Node], View]:
    def lower(low: _Lowering, number: int, node: Node) -> View:
        out = low.result(number)
        low.step(number, kernel, (low.values[node.inputs[0]],), out)
        return out

    return lower


def _sum(low: _Lowering, number: int, node: Node) -> View:
    out = low.result(number)
    axes = tuple(node.kind + i for i in node.keywords["axis"])
    low.step(number, "sum", (low.values[node.inputs[0]],), out, axes)
    return out


def _reshape(low: _Lowering, number: int, node: Node) -> View:
    view = low.values[node.inputs[0]]
    return low.compact(number, view, low.lead[node.kind] + node.shape)


def _transpose(low: _Lowering, _: int, node: Node) -> View:
    lead = tuple(range(node.kind))
    order = tuple(node.kind + i for i in node.keywords["axes"])
    return low.values[node.inputs[0]].permuted(lead + order)


def _broadcast(low: _Lowering, number: int, node: Node) -> View:
    (i,) = node.inputs
    return low.aligned(i, number).stretched(low.lead[node.kind] + node.shape)


def _index(low: _Lowering, number: int, node: Node) -> View:
    (i,) = node.inputs
    at = node.keywords["at"]
    view = low.values[i]
    if isinstance(at, Slices):
        return view.sliced(at.axes)
    lead = low.lead[node.kind]
    flat = low.compact(number, view, (*lead, math.prod(low.graph.nodes[i].shape)))
    out = low.result(number)
    low.step(number, "take", (flat,), out, at.key)
    return out


def _place(low: _Lowering, number: int, node: Node) -> View:
    out = low.result(number)
    shape, parts = node.keywords["shape"], node.keywords["at"]
    covered = np.zeros(shape, np.int32)
    for at in parts:
        at.add(covered, np.int32(1))
    alone = bool(np.all(covered <= 1))
    if not np.all(covered == 1):
        low.step(number, "zero", (), out)
    lead = low.lead[node.kind]
    for i, at in zip(node.inputs, parts, strict=True):
        x = low._led(low.values[i], i, node.kind)
        if isinstance(at, Slices):
            part = out.sliced(at.axes)
            if alone:
                low.step(number, "copy", (x,), part)
            else:
                low.step(number, "add", (part, x), part)
        else:
            flat = low.compact(number, out, (*lead, math.prod(shape)))
            vs = low.compact(number, x, (*lead, math.prod(at.shape)))
            low.step(number, "add_at", (vs,), flat, at.key.reshape(-1))
    return out


def _to_samples(low: _Lowering, _: int, node: Node) -> View:
    (i,) = node.inputs
    return low._led(low.values[i], i, Kind.SAMPLE)


def _block_sum(low: _Lowering, number: int, node: Node) -> View:
    (i,) = node.inputs
    out = low.result(number)
    if i in low.dotted:
        a, b = (low.values[j] for j in low.graph.nodes[i].inputs)
        low.step(number, "vecdot", (a, b), out)
        return out
    x = low._led(low.values[i], i, Kind.SAMPLE)
    stack, block = low.lead[Kind.SAMPLE]
    size = math.prod(node.shape)
    rows = x.reshaped((stack, block, size))
    flat = out.reshaped((stack, 1, size))
    if size > 1 and rows is not None and rows.strides[1:] == (size, 1) and flat:
        # One row of ones times the block: BLAS sums columns several times faster
        # than a reduction over the first axis does.
        ones = low.fresh((1, block), low.layout.dtype)
        low.plan.constants.append((ones, np.ones(())))
        low.step(number, "matmul", (ones.inserted(0), rows), flat)
    else:
        low.step(number, "sum", (x,), out, (1,))
    return out


_LOWERINGS: dict[str, Callable[[_Lowering, int, Node], View]] = {
    "sigmoid": _kernel("sigmoid"),
    "where": _where,
    "real": _kernel("copy"),
    "sum": _sum,
    "max": _last_axis("max"),
    "min": _last_axis("min"),
    "argmax": _last_axis("argmax"),
    "argmin": _last_axis("argmin"),
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast": _broadcast,
    "index": _index,
    "place": _place,
    "block_sum": _block_sum,
    "to_samples": _to_samples,
    "contract": products.lower,
}


def lowered(function: BaseFunction) -> bool:
    """Whether the engine can compute a base function."""
    return (
        function.elementwise
        or function.definition is not None
        or function.name in _LOWERINGS
    )
