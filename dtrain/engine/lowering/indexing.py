"""How reading and writing at indices is lowered: slices to views, the rest to steps."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.lowering.frame import Frame
from dtrain.engine.plans.plan import View
from dtrain.functions.base import Kind
from dtrain.functions.shape import Slices
from dtrain.tracing.node import Node


def index(low: Frame, number: int, node: Node) -> View:
    """Append the steps that read elements at fixed indices; return their view."""
    (i,) = node.inputs
    at = node.keywords["at"]
    view = low.values[i]
    if isinstance(at, Slices):
        return view.sliced(at.axes)
    lead = low.lead[node.kind]
    flat = low.compact(number, view, (*lead, math.prod(low.graph.nodes[i].shape)))
    out, row = _in_rows(low, number, node)
    low.step(number, "take", (flat,), row, at.key.reshape(-1))
    return out


def place(low: Frame, number: int, node: Node) -> View:
    """Append the steps that write parts at fixed indices; return the view."""
    parts = node.keywords["at"]
    lead = low.lead[node.kind]
    if all(isinstance(at, Slices) for at in parts):
        out = flat = low.result(number)
    else:
        out, flat = _in_rows(low, number, node)
    covered = coverage(node)
    alone = bool(np.all(covered <= 1))
    if not np.all(covered == 1):
        low.step(number, "zero", (), out)
    for i, at in zip(node.inputs, parts, strict=True):
        x = low.led(low.values[i], i, node.kind)
        if isinstance(at, Slices):
            part = out.sliced(at.axes)
            if not alone:
                low.step(number, "add", (part, x), part)
            elif not x.same(part):  # else it was computed in its slots
                low.step(number, "copy", (x,), part)
        else:
            vs = low.compact(number, x, (*lead, math.prod(at.shape)))
            _scatter(low, number, vs, flat, at.key.reshape(-1), alone)
    return out


def _in_rows(low: Frame, number: int, node: Node) -> tuple[View, View]:
    """Return a view for a node's value, and the same as rows of elements in C order.

    A part of a derivative's slots may not be such rows. Then the value gets a new
    buffer, and is copied to the slots later.
    """
    shape = (*low.lead[node.kind], math.prod(node.shape))
    out = low.result(number)
    rows = out.reshaped(shape)
    if rows is None:
        out = low.fresh(out.shape, low.dtype(node))
        rows = out.reshaped(shape)
    assert rows is not None  # noqa: S101  (a contiguous view always can)
    return out, rows


def coverage(node: Node) -> NDArray[np.int32]:
    """Return how many parts of a `place` each element of its value has."""
    covered = np.zeros(node.keywords["shape"], np.int32)
    for at in node.keywords["at"]:
        at.add(covered, np.int32(1))
    return covered


def _scatter(
    low: Frame,
    number: int,
    x: View,
    out: View,
    indices: NDArray[np.int64],
    alone: bool,
) -> None:
    """Write elements at indices, or add them if indices are shared."""
    order = np.argsort(indices)
    if not alone:
        low.step(number, "add_at", (x,), out, indices)
    elif len(order) and np.all(np.diff(indices[order]) == 1):  # a permuted slice
        part = out.sliced(((int(indices[order[0]]), len(order), 1),))
        low.step(number, "take", (x,), part, order)
    else:
        low.step(number, "put", (x,), out, indices)


def gather(low: Frame, number: int, node: Node) -> View:
    """Append the steps that read rows at indices from the data."""
    i, j = node.inputs
    indices, x = (low.graph.nodes[k] for k in node.inputs)
    batch = node.keywords["batch"]
    b, t = math.prod(indices.shape[:batch]), math.prod(indices.shape[batch:])
    n, r = x.shape[batch], math.prod(x.shape[batch + 1 :])
    lead = low.lead[node.kind]
    at = low.packed(number, low.led(low.values[i], i, node.kind), (*lead, b, t))
    table = low.packed(number, low.values[j], (*low.lead[x.kind], b, n, r))
    for axis in range(x.kind, node.kind):
        table = table.inserted(axis)
    out = low.fresh((*lead, b, t, r), low.dtype(node))
    low.step(number, "gather", (at, table), out, str(node.source))
    return low.compact(number, out, lead + node.shape)


def scatter(low: Frame, number: int, node: Node) -> View:
    """Append the steps that add rows at indices from the data."""
    i, j = node.inputs
    batch = node.keywords["batch"]
    shape = low.graph.nodes[i].shape
    b, t = math.prod(shape[:batch]), math.prod(shape[batch:])
    n, r = node.keywords["size"], math.prod(node.shape[batch + 1 :])
    kind = Kind.SAMPLE if node.keywords.get("over_block") else node.kind
    at, v = (
        low.packed(number, low.led(low.values[k], k, kind), (*low.lead[kind], b, *more))
        for k, more in ((i, (t,)), (j, (t, r)))
    )
    out = low.fresh((*low.lead[node.kind], b, n, r), low.dtype(node))
    low.step(number, "zero", (), out)
    table = out
    for axis in range(node.kind, kind):
        table = table.inserted(axis)
    low.step(number, "scatter", (at, v), table, str(node.source))
    return low.compact(number, out, low.lead[node.kind] + node.shape)
