"""Regions: the elementwise steps of a plan, in pieces that one loop computes each.

A region is a run of elementwise steps, and of sums over the samples of a block, between
two steps that NumPy computes. A piece is a set of steps of a region over the same
elements. Values that only the piece's steps read stay in registers and need no memory.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from dtrain.engine.fused.operations import OPERATIONS
from dtrain.engine.plans.plan import Plan, Shape, Step, View

WHOLE = 96
"""A region of at most so many steps is split only where the domain changes."""
SMALL = 2
"""The steps in a piece of a larger region; small pieces often have one form."""


@dataclass(frozen=True)
class Node:
    """A step as one operation on each element of a domain.

    Attributes:
        operation: its name in the table of operations.
        inputs: operands, with the domain's axes; a broadcast axis has stride 0.
        out: the result, with the domain's axes; a sum has all except the last.
        summed: whether the operation's values are summed over the last axis.
        domain: the lengths of the axes, none of them 1.
    """

    operation: str
    inputs: tuple[View, ...]
    out: View
    summed: bool
    domain: Shape


@dataclass(frozen=True)
class Piece(Step):
    """Nodes over one domain, as one step.

    Attributes:
        nodes: the nodes, in order.
        stored: the results that must be in memory.
    """

    nodes: tuple[Node, ...] = ()
    stored: tuple[View, ...] = ()

    @property
    def outs(self) -> tuple[View, ...]:
        """All views that it writes."""
        return self.stored

    @property
    def compiled(self) -> Sequence[tuple[str, int]]:
        """The kernel and the size of each loop."""
        return [(node.operation, math.prod(node.domain)) for node in self.nodes]


def fused(plan: Plan) -> Plan:
    """Return the plan with its elementwise steps gathered into pieces."""
    whole = replace(plan, buffers=list(plan.buffers))
    whole.once, whole.steps = _gathered(plan, plan.once), _gathered(plan, plan.steps)
    _keep_in_registers(whole)
    return whole


def node_of(plan: Plan, step: Step) -> Node | None:
    """Return a step as a node, or ``None`` if NumPy must compute it."""
    views = (*step.inputs, step.out)
    kinds = [plan.buffers[view.buffer].dtype.kind for view in views]
    axes: tuple[int, ...] = ()
    if step.kernel == "vecdot":
        shape = np.broadcast_shapes(*(view.shape for view in step.inputs))
        operation, axes = "multiply", (len(shape) - 1,)
    elif step.kernel == "sum":
        operation, shape, axes = "copy", step.inputs[0].shape, step.params[0]
    else:
        operation, shape = step.kernel, step.out.shape
    if operation not in OPERATIONS or not OPERATIONS[operation].takes(kinds):
        return None
    if not math.prod(shape):
        return None
    long = [axis for axis, n in enumerate(shape) if n != 1]
    summed = [axis for axis in long if axis in axes]
    if summed and summed != long[-1:]:
        return None
    outer = step.out
    for axis in axes:
        outer = outer.inserted(axis)
    return Node(
        operation,
        tuple(_along(view, shape, long) for view in step.inputs),
        _along(outer, shape, long[:-1] if summed else long),
        bool(summed),
        tuple(shape[axis] for axis in long),
    )


def _along(view: View, shape: Shape, axes: Sequence[int]) -> View:
    """Return a view broadcast to a shape, with some of its axes."""
    if view.shape != shape:
        view = view.stretched(shape)
    if len(axes) == len(shape):
        return view
    return View(
        view.buffer,
        view.offset,
        tuple(shape[axis] for axis in axes),
        tuple(view.strides[axis] for axis in axes),
    )


def _gathered(plan: Plan, steps: Sequence[Step]) -> list[Step]:
    """Return the steps with pieces instead of the steps that can be fused."""
    result: list[Step] = []
    keys = _MemoryKeys(plan)
    for region in _regions(plan, steps):
        if isinstance(region, Step):
            result.append(region)
        else:
            result += (_piece(nodes) for nodes in _pieces(region, keys))
    return result


class _MemoryKeys:
    """Keys of memory that may overlap: a buffer, or the slots of a derivative."""

    def __init__(self, plan: Plan) -> None:
        self._rows = {
            i: need.size // plan.stack
            for i, need in enumerate(plan.buffers)
            if need.external == "slots"
        }
        views = plan.outputs.values()
        self._starts = sorted(v.offset for v in views if v.buffer in self._rows)

    def __call__(self, view: View) -> Iterable[tuple[int, int]]:
        """Return keys; two views that may overlap have a key in common."""
        row = self._rows.get(view.buffer)
        if row is None:
            return ((view.buffer, 0),)
        spans = [
            (n - 1) * stride
            for n, stride in zip(view.shape, view.strides, strict=True)
            if abs(stride) != row  # along a row, not from block to block
        ]
        first = view.offset + sum(span for span in spans if span < 0)
        last = view.offset + sum(span for span in spans if span > 0)
        slots = (bisect_right(self._starts, end) for end in (first, last))
        return ((view.buffer, slot) for slot in range(next(slots), next(slots) + 1))


def _regions(plan: Plan, steps: Sequence[Step]) -> Iterator[Step | list[Node]]:
    """Yield runs of steps that are nodes, and other steps; NumPy runs lone copies."""
    pairs = ((step, node_of(plan, step)) for step in steps)
    for fusible, run in groupby(pairs, lambda pair: pair[1] is not None):
        region = list(run)
        if fusible and any(step.kernel != "copy" for step, _ in region):
            yield [node for _, node in region if node is not None]
        else:
            yield from (step for step, _ in region)


def _pieces(region: Sequence[Node], keys: _MemoryKeys) -> list[list[Node]]:
    """Split a region: a node joins a piece that comes after all that it reads.

    A large region is split into small pieces, along the values that nodes pass on.
    """
    whole = len(region) <= WHOLE
    limit = WHOLE if whole else SMALL
    pieces: list[list[Node]] = []
    writers: dict[tuple[int, int], tuple[int, Node]] = {}  # with their pieces
    touched: dict[tuple[int, int], int] = {}  # the last piece that uses it
    newest: dict[Shape, int] = {}  # by domain
    for node in region:
        least = 1 + max(touched.get(key, -1) for key in keys(node.out))
        known = [
            (view, *writers[key])
            for view in node.inputs
            for key in keys(view)
            if key in writers
        ]
        for view, at, writer in known:
            direct = view == writer.out and node.domain == writer.domain
            least = max(least, at if direct and not writer.summed else at + 1)
        at = newest.get(node.domain, -1) if whole else least
        if (
            not least <= at < len(pieces)
            or len(pieces[at]) >= limit
            or pieces[at][0].domain != node.domain
            or not (whole or known)
        ):
            at = newest[node.domain] = len(pieces)
            pieces.append([])
        pieces[at].append(node)
        writers.update((key, (at, node)) for key in keys(node.out))
        for view in (*node.inputs, node.out):
            for key in keys(view):
                touched[key] = max(at, touched.get(key, -1))
    return pieces


def _piece(nodes: Sequence[Node]) -> Piece:
    made: set[View] = set()
    read: dict[View, None] = {}
    for node in nodes:
        read.update((view, None) for view in node.inputs if view not in made)
        if not node.summed:
            made.add(node.out)
    stored = tuple(node.out for node in nodes)
    return Piece("fused", tuple(read), stored[0], nodes=tuple(nodes), stored=stored)


def _keep_in_registers(plan: Plan) -> None:
    """Remove the memory of values that no other step reads."""
    everything = [*plan.once, *plan.steps]
    readers = Counter(view.buffer for step in everything for view in step.inputs)
    kept = {view.buffer for view in plan.outputs.values()}
    kept |= {i for i, need in enumerate(plan.buffers) if need.external is not None}
    for steps in (plan.once, plan.steps):
        for i, step in reversed(list(enumerate(steps))):
            if not isinstance(step, Piece):
                continue
            stored = []
            for node in step.nodes:
                buffer = node.out.buffer
                if node.summed or readers[buffer] or buffer in kept:
                    stored.append(node.out)
                else:
                    plan.buffers[buffer] = replace(plan.buffers[buffer], size=0)
            if stored:
                steps[i] = replace(step, out=stored[0], stored=tuple(stored))
            else:  # it has no elements
                del steps[i]
