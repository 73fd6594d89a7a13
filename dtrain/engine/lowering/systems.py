"""How linear systems and functions of one matrix are lowered.

LAPACK solves for many right-hand sides at once. If all samples share the matrix, the
right-hand sides of a block are the columns of one call. Each block of a stack has a
call of its own, so that the stack size changes no bits.
"""

from __future__ import annotations

from collections.abc import Callable

from dtrain.engine.lowering.frame import Frame
from dtrain.engine.plans.plan import View
from dtrain.functions.base import Kind
from dtrain.tracing.node import Node


def lower_solve(low: Frame, number: int, node: Node) -> View:
    """Append the steps of A X = B; return the view of X."""
    i, j = node.inputs
    kind = low.graph.nodes[i].kind
    where = str(node.source)
    if node.kind is not Kind.SAMPLE or kind is Kind.SAMPLE:
        views = tuple(low.led(low.values[k], k, node.kind) for k in node.inputs)
        out = low.result(number)
        low.step(number, "solve", views, out, where)
        return out
    matrix = low.led(low.values[i], i, Kind.BLOCK)
    b = low.led(low.values[j], j, Kind.SAMPLE)
    rank = len(b.shape)
    # (stack, block, ..., n, k) with the block beside the columns: (stack, ..., n, b·k)
    turned = b.permuted((0, *range(2, rank - 1), 1, rank - 1))
    *lead, block, k = turned.shape
    columns = low.compact(number, turned, (*lead, block * k))
    out = low.fresh((*lead, block * k), low.dtype(node))
    low.step(number, "solve", (matrix, columns), out, where)
    split = low.compact(number, out, (*lead, block, k))
    return split.permuted((0, rank - 2, *range(1, rank - 2), rank - 1))


def lower_of_matrix(kernel: str) -> Callable[[Frame, int, Node], View]:
    """Return the rule for a function of one matrix."""

    def lower(low: Frame, number: int, node: Node) -> View:
        out = low.result(number)
        where = str(node.source)
        parameters = node.keywords
        low.step(number, kernel, (low.values[node.inputs[0]],), out, where, parameters)
        return out

    return lower
