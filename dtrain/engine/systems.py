"""Linear systems and determinants: how they are lowered, and their calls of NumPy.

LAPACK solves for many right-hand sides at once. Where all samples share the matrix,
those of a block are the columns of one such call; each block of a stack has its own, so
that a stack changes no bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.plan import View
from dtrain.errors import NotFiniteError
from dtrain.functions.base import BaseFunction, Kind

if TYPE_CHECKING:
    from dtrain.engine.lowering import Lowering
    from dtrain.tracing.node import Node

Array = NDArray[Any]


def lower_solve(low: Lowering, number: int, node: Node) -> View:
    """Append the steps of A X = B; return where X is."""
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


def lower_of_matrix(kernel: str) -> Callable[[Lowering, int, Node], View]:
    """The lowering of a function of one matrix."""

    def lower(low: Lowering, number: int, node: Node) -> View:
        out = low.result(number)
        where = str(node.source)
        low.step(number, kernel, (low.values[node.inputs[0]],), out, where)
        return out

    return lower


def solve(a: Array, b: Array, out: Array, where: str) -> list[Any]:
    """X with A X = B."""
    return [(_solve, (a, b, out, where))]


def _solve(a: Array, b: Array, out: Array, where: str) -> None:
    try:
        out[...] = np.linalg.solve(a, b)
    except np.linalg.LinAlgError:
        raise NotFiniteError(f"{where}: a matrix is singular") from None


def of_matrix(function: BaseFunction) -> Callable[[Array, Array, str], list[Any]]:
    """The calls of a function of one matrix, which NumPy cannot give memory."""

    def call(x: Array, out: Array, where: str) -> None:
        try:
            out[...] = function.value(x)
        except np.linalg.LinAlgError as error:
            reason = str(error)[:1].lower() + str(error)[1:]
            raise NotFiniteError(f"{where}: {function.name}: {reason}") from None

    return lambda x, out, where: [(call, (x, out, where))]
