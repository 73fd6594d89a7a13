"""The lowering rule of each base function: to views, or to steps with kernels.

Elementwise functions of one ufunc need no entry; every other function without a
definition has one in `LOWERINGS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.lowering import indexing, products, systems
from dtrain.engine.lowering.frame import Frame
from dtrain.engine.plans.plan import View
from dtrain.functions import windows
from dtrain.functions.base import BaseFunction, Kind
from dtrain.tracing.node import Node


def _kernel(name: str) -> Callable[[Frame, int, Node], View]:
    """Return the rule for a function that is one elementwise kernel."""
    return lambda low, number, node: low.elementwise(number, node, name)


def _where(low: Frame, number: int, node: Node) -> View:
    """Lower a choice; where one side is 0, as in most adjoints, to a mask."""
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
    """Return whether all elements are +0; −0 has other bits."""
    return not value.any() and not np.signbit(value).any()


def _last_axis(kernel: str) -> Callable[[Frame, int, Node], View]:
    def lower(low: Frame, number: int, node: Node) -> View:
        out = low.result(number)
        low.step(number, kernel, (low.values[node.inputs[0]],), out)
        return out

    return lower


def _sum(low: Frame, number: int, node: Node) -> View:
    out = low.result(number)
    axes = tuple(node.kind + i for i in node.keywords["axis"])
    low.step(number, "sum", (low.values[node.inputs[0]],), out, axes)
    return out


def _reshape(low: Frame, number: int, node: Node) -> View:
    view = low.values[node.inputs[0]]
    return low.compact(number, view, low.lead[node.kind] + node.shape)


def _transpose(low: Frame, _: int, node: Node) -> View:
    lead = tuple(range(node.kind))
    order = tuple(node.kind + i for i in node.keywords["axes"])
    return low.values[node.inputs[0]].permuted(lead + order)


def _broadcast(low: Frame, number: int, node: Node) -> View:
    (i,) = node.inputs
    return low.aligned(i, number).stretched(low.lead[node.kind] + node.shape)


def _integer(low: Frame, number: int, node: Node) -> View:
    (i,) = node.inputs
    if low.graph.nodes[i].dtype == "int":  # an input that is only an index
        return low.values[i]
    return low.elementwise(number, node, "integer")


def _windows(low: Frame, _: int, node: Node) -> View:
    view = low.values[node.inputs[0]]
    d = len(node.keywords["size"])
    strides = view.strides[-d:]
    moves = (node.keywords[name] for name in ("stride", "dilation"))
    inner = [s * by for move in moves for s, by in zip(strides, move, strict=True)]
    shape = low.lead[node.kind] + node.shape
    return View(view.buffer, view.offset, shape, (*view.strides[:-d], *inner))


def _overlap_add(low: Frame, number: int, node: Node) -> View:
    view = low.values[node.inputs[0]]
    stride, dilation = (node.keywords[name] for name in ("stride", "dilation"))
    out = low.result(number)
    low.step(number, "zero", (), out)
    if 0 in view.shape:
        return out
    d = len(stride)
    for index, axes in windows.parts(view.shape, stride, dilation):
        at = sum(j * s for j, s in zip(index, view.strides[-d:], strict=True))
        offset = view.offset + at
        x = View(view.buffer, offset, view.shape[:-d], view.strides[:-d])
        part = out.sliced(axes)
        low.step(number, "add", (part, x), part)
    return out


def _largest(low: Frame, _: int, node: Node) -> View:
    dtype = low.layout.dtype
    view = low.fresh((1,) * len(low.lead[node.kind] + node.shape), dtype)
    low.plan.constants.append((view, np.asarray(np.finfo(dtype).max)))
    return view.stretched(low.lead[node.kind] + node.shape)


def _to_samples(low: Frame, _: int, node: Node) -> View:
    (i,) = node.inputs
    return low.led(low.values[i], i, Kind.SAMPLE)


def _block_sum(low: Frame, number: int, node: Node) -> View:
    (i,) = node.inputs
    out = low.result(number)
    if i in low.dotted:
        factors = [low.values[j] for j in low.graph.nodes[i].inputs]
        low.step(number, "vecdot", (factors[0], factors[-1]), out)
        return out
    x = low.led(low.values[i], i, Kind.SAMPLE)
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


LOWERINGS: dict[str, Callable[[Frame, int, Node], View]] = {
    "sigmoid": _kernel("sigmoid"),
    "where": _where,
    "real": _kernel("copy"),
    "sum": _sum,
    "max": _last_axis("max"),
    "min": _last_axis("min"),
    "argmax": _last_axis("argmax"),
    "argmin": _last_axis("argmin"),
    "argsort": _last_axis("argsort"),
    "sort": _last_axis("sort"),
    "integer": _integer,
    "solve": systems.lower_solve,
    **{
        name: systems.lower_of_matrix(name)
        for name in (
            *("det", "logabsdet", "sign_of_det"),
            *("cholesky", "eigenvalues", "eigenvectors", "eigenvectors_of_upper"),
            *("pinv", "signal", "spectrum"),
        )
    },
    "largest": _largest,
    "windows": _windows,
    "overlap_add": _overlap_add,
    "gather": indexing.gather,
    "scatter": indexing.scatter,
    "cumsum": _last_axis("cumsum"),
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast": _broadcast,
    "index": indexing.index,
    "place": indexing.place,
    "block_sum": _block_sum,
    "to_samples": _to_samples,
    "contract": products.lower,
}


def lowered(function: BaseFunction) -> bool:
    """Return whether the engine can compute a base function."""
    return (
        function.elementwise
        or function.definition is not None
        or function.name in LOWERINGS
    )
