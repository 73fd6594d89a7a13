"""Contractions as matrix products, dot products or elementwise products.

Each label of a contraction has one of four roles. In both inputs and the output, it
counts products in a stack; in one input and the output, it is a row or a column; in
both inputs only, it is summed. The samples of a block are one more label, so ``W @ x``
over a block is one matrix product, and so is the gradient of W. Blocks of a stack are
never merged with the rows of a product: that would change bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dtrain.engine.lowering.frame import Frame
from dtrain.engine.plans.plan import Step, View
from dtrain.functions.base import Kind
from dtrain.tracing.node import Node

_STACK, _BLOCK = -1, -2
Labels = tuple[int, ...]
_LEAD: dict[Kind, Labels] = {
    Kind.WEIGHTS: (),
    Kind.BLOCK: (_STACK,),
    Kind.SAMPLE: (_STACK, _BLOCK),
}


@dataclass(frozen=True)
class _Operand:
    """A view whose axes have labels."""

    view: View
    labels: Labels

    def arranged(self, labels: Labels) -> View:
        """Return the axes in the order of labels; an absent label has size 1."""
        have = [label for label in labels if label in self.labels]
        view = self.view.permuted([self.labels.index(label) for label in have])
        for axis, label in enumerate(labels):
            if label not in self.labels:
                view = view.inserted(axis)
        return view


def lower(low: Frame, number: int, node: Node) -> View:
    """Append the steps of a contraction; return the view of its value."""
    la, lb, ly = node.keywords["labels"]
    kinds = [low.graph.nodes[i].kind for i in node.inputs]
    views = [low.values[i] for i in node.inputs]
    a = _Operand(views[0], _LEAD[kinds[0]] + la)
    b = _Operand(views[1], _LEAD[kinds[1]] + lb)
    if node.keywords.get("over_block"):
        a, b = _with_block(low, a), _with_block(low, b)
    out = low.result(number)
    y = _Operand(out, _LEAD[node.kind] + ly)
    _product(low, number, a, b, y)
    return out


def _with_block(low: Frame, x: _Operand) -> _Operand:
    """Return an operand that has the block's label, for a sum over it."""
    if _BLOCK in x.labels:
        return x
    view, labels = x.view, x.labels
    if _STACK not in labels:
        view, labels = view.inserted(0), (_STACK, *labels)
    return _Operand(view.inserted(1, low.plan.block), (_STACK, _BLOCK, *labels[1:]))


def _product(low: Frame, number: int, a: _Operand, b: _Operand, y: _Operand) -> None:
    stacked = tuple(
        label
        for label in y.labels
        if label == _STACK or (label in a.labels and label in b.labels)
    )
    rows = tuple(x for x in y.labels if x in a.labels and x not in stacked)
    columns = tuple(x for x in y.labels if x in b.labels and x not in stacked)
    summed = tuple(x for x in a.labels if x in b.labels and x not in y.labels)
    if not summed:
        operands = (a.arranged(y.labels), b.arranged(y.labels))
        low.step(number, "multiply", operands, y.view)
    elif not rows and not columns:
        _dot(low, number, a, b, y, stacked, summed)
    elif columns and rows and y.labels.index(columns[0]) < y.labels.index(rows[0]):
        # Compute yᵀ = bᵀ aᵀ, so that the output needs no copy.
        _matmul(low, number, b, a, y, (stacked, columns, rows, summed))
    else:
        _matmul(low, number, a, b, y, (stacked, rows, columns, summed))


def _dot(
    low: Frame,
    number: int,
    a: _Operand,
    b: _Operand,
    y: _Operand,
    stacked: Labels,
    summed: Labels,
) -> None:
    merged = []
    for x in (a, b):
        view = x.arranged(stacked + summed)
        shape = (*view.shape[: len(stacked)], math.prod(view.shape[len(stacked) :]))
        merged.append(low.compact(number, view, shape))
    low.step(number, "vecdot", (merged[0], merged[1]), y.arranged(stacked))


def _matmul(
    low: Frame,
    number: int,
    a: _Operand,
    b: _Operand,
    y: _Operand,
    roles: tuple[Labels, Labels, Labels, Labels],
) -> None:
    stacked, rows, columns, summed = roles
    left = _matrices(low, number, a, stacked, rows, summed)
    right = _by_rows(low, _matrices(low, number, b, stacked, summed, columns), b)
    out = y.arranged(stacked + rows + columns)
    shape = (*out.shape[: len(stacked)], left.shape[-2], right.shape[-1])
    product = out.reshaped(shape)
    if product is not None and _fits(product):
        low.step(number, "matmul", (left, right), product)
        return
    # The output's axes are interleaved: compute in another order and copy.
    scratch = low.fresh(shape, low.layout.dtype)
    low.step(number, "matmul", (left, right), scratch)
    arranged = scratch.reshaped(out.shape)
    assert arranged is not None  # noqa: S101  (a contiguous view always can)
    low.step(number, "copy", (arranged,), out)


def _matrices(
    low: Frame,
    number: int,
    x: _Operand,
    stacked: Labels,
    first: Labels,
    second: Labels,
) -> View:
    """Return an operand as a stack of matrices that BLAS can read, copied if needed."""
    view = x.arranged(stacked + first + second)
    lead, middle = len(stacked), len(stacked) + len(first)
    shape = (
        *view.shape[:lead],
        math.prod(view.shape[lead:middle]),
        math.prod(view.shape[middle:]),
    )
    matrices = view.reshaped(shape)
    if matrices is None or not _fits(matrices):
        copy = low.fresh(view.shape, low.layout.dtype)
        low.step(number, "copy", (view,), copy)
        matrices = copy.reshaped(shape)
    assert matrices is not None  # noqa: S101  (a contiguous view always can)
    return matrices


def _by_rows(low: Frame, right: View, x: _Operand) -> View:
    """Return a matrix that all samples share, copied once a step to contiguous rows.

    BLAS takes twice as long for a small product with a transposed right-hand side, and
    ``W @ x`` over a block of samples is such a product.
    """
    shared = _STACK not in x.labels and right.buffer == x.view.buffer  # not yet copied
    if not shared or 1 in right.shape[-2:] or right.strides[-1] == 1:
        return right
    if right not in low.transposed:
        low.transposed[right] = low.fresh(right.shape, low.layout.dtype)
        low.plan.once.append(Step("copy", (right,), low.transposed[right]))
    return low.transposed[right]


def _fits(view: View) -> bool:
    """Return whether BLAS can read the last two axes: one must have unit stride."""
    (m, n), (row, column) = view.shape[-2:], view.strides[-2:]
    by_rows = (column == 1 or n == 1) and (row >= n or m == 1)
    by_columns = (row == 1 or m == 1) and (column >= m or n == 1)
    return by_rows or by_columns
