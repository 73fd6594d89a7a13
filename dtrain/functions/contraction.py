"""Contractions: products followed by sums, with labelled axes.

``@``, ``dot``, ``outer`` and a product followed by a sum are all one base function,
`contract`: labels that both inputs have and the output lacks are summed over. The axis
of the samples in a block needs no label: a contraction ``over_block`` sums over it,
too, so the gradient of a weight matrix, Σ v ⊗ x over the block (lecture,
"Generalization to vectors": v_out ⊗ x), is one matrix product.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.functions.base import (
    BaseFunction,
    Expression,
    Shape,
    adapter,
    register,
)

Labels = tuple[int, ...]


def _contract_shape(
    a: Shape, b: Shape, *, labels: tuple[Labels, Labels, Labels], **_: Any
) -> Shape:
    sizes = dict(zip(labels[0], a, strict=True))
    for label, size in zip(labels[1], b, strict=True):
        if sizes.setdefault(label, size) != size:
            raise ValueError(f"axes of {sizes[label]} and {size} are to be summed")
    return tuple(sizes[label] for label in labels[2])


def _contract_value(
    a: Any, b: Any, *, labels: tuple[Labels, Labels, Labels], over_block: bool = False
) -> Any:
    if over_block:  # of one sample
        return _contract_value(a, b, labels=labels)
    return np.einsum(a, labels[0], b, labels[1], labels[2])


def _contract_vjp(
    v: Expression,
    y: Expression,
    a: Expression,
    b: Expression,
    *,
    labels: tuple[Labels, Labels, Labels],
    **_: Any,
) -> tuple[Expression, Expression]:
    la, lb, ly = labels
    return labelled(v, b, (ly, lb, la)), labelled(a, v, (la, ly, lb))


contract = register(
    BaseFunction(
        name="contract",
        value=_contract_value,
        shape=_contract_shape,
        vjp=_contract_vjp,
        doc="The sum of products over the labels that the output lacks; each label "
        "of an input is one of the other input or of the output.",
    )
)


def labelled(
    a: Expression,
    b: Expression,
    labels: tuple[Labels, Labels, Labels],
    over_block: bool = False,
) -> Expression:
    """Contract, with labels numbered by appearance: equal sums become one node."""
    number: dict[int, int] = {}
    for label in (*labels[0], *labels[1]):
        number.setdefault(label, len(number))
    la, lb, ly = (tuple(number[label] for label in each) for each in labels)
    more = {"over_block": True} if over_block else {}
    return contract(a, b, labels=(la, lb, ly), **more)


def sum_of_products(
    a: Expression,
    b: Expression,
    labels: tuple[Labels, Labels, Labels],
    over_block: bool = False,
) -> Expression:
    """Contract with NumPy's broadcasting: axes of size 1 stretch.

    Converts its arguments for `contract`: it removes axes of size 1, and first sums the
    axes whose label occurs only once.
    """
    la, lb, ly = labels
    sizes: dict[int, int] = {}
    for axes, x in ((la, a), (lb, b)):
        for label, size in zip(axes, np.shape(x), strict=True):
            if size != 1 and sizes.setdefault(label, size) != size:
                raise ValueError(f"axes of {sizes[label]} and {size} do not fit")
    a, la = _without_ones(a, la)
    b, lb = _without_ones(b, lb)
    a, la = _without_lone(a, la, lb + ly)
    b, lb = _without_lone(b, lb, la + ly)
    full = tuple(sizes.get(label, 1) for label in ly)
    kept = tuple(label for label in ly if label in la + lb)
    y = labelled(a, b, (la, lb, kept), over_block)
    return y if np.shape(y) == full else np.reshape(y, full)


def _without_ones(x: Expression, labels: Labels) -> Any:
    """Remove axes of size 1."""
    shape = np.shape(x)
    long = [i for i, size in enumerate(shape) if size != 1]
    return np.reshape(x, tuple(shape[i] for i in long)), tuple(labels[i] for i in long)


def _without_lone(x: Expression, labels: Labels, wanted: Labels) -> Any:
    """Sum over the axes whose label occurs only once."""
    lone = tuple(i for i, label in enumerate(labels) if label not in wanted)
    if lone:
        x = np.sum(x, axis=lone)
        labels = tuple(label for label in labels if label in wanted)
    return x, labels


@adapter(np.matmul)
def _matmul(a: Any, b: Any) -> Any:
    na, nb = np.ndim(a), np.ndim(b)
    if na == 0 or nb == 0:
        raise ValueError("matmul takes no scalars; use *")
    # Labels: −1 is the summed axis, −2 the rows of a, −3 the columns of b; axes of
    # stacked matrices are numbered from the right, as they broadcast.
    stacks = range(max(na, nb) - 2, 0, -1)
    la = tuple(range(na - 2, 0, -1)) + (-2, -1)[-na:]
    lb = tuple(range(nb - 2, 0, -1)) + ((-1, -3) if nb > 1 else (-1,))
    ly = tuple(stacks) + ((-2,) if na > 1 else ()) + ((-3,) if nb > 1 else ())
    _check_inner(a, b, -1, -2 if nb > 1 else -1)
    return sum_of_products(a, b, (la, lb, ly))


@adapter(np.dot)
def _dot(a: Any, b: Any) -> Any:
    na, nb = np.ndim(a), np.ndim(b)
    if na == 0 or nb == 0:
        return np.multiply(a, b)
    inner = -2 if nb > 1 else -1
    _check_inner(a, b, -1, inner)
    la = (*range(1, na), 0)
    lb = [*range(na, na + nb)]
    lb[inner] = 0
    ly = (*la[:-1], *(label for label in lb if label))
    return sum_of_products(a, b, (la, tuple(lb), ly))


@adapter(np.vecdot)
def _vecdot(a: Any, b: Any) -> Any:
    _check_inner(a, b, -1, -1)
    return np.sum(np.multiply(a, b), axis=-1)


if hasattr(np, "matvec"):  # since NumPy 2.2

    @adapter(np.matvec)
    def _matvec(a: Any, b: Any) -> Any:
        return np.matmul(a, b[..., None])[..., 0]

    @adapter(np.vecmat)
    def _vecmat(a: Any, b: Any) -> Any:
        return np.matmul(a[..., None, :], b)[..., 0, :]


@adapter(np.outer)
def _outer(a: Any, b: Any) -> Any:
    return sum_of_products(np.ravel(a), np.ravel(b), ((1,), (2,), (1, 2)))


def _check_inner(a: Any, b: Any, i: int, j: int) -> None:
    """Raise unless the summed axes have equal sizes; size 1 does not stretch here."""
    if np.shape(a)[i] != np.shape(b)[j]:
        raise ValueError(f"the summed axes have {np.shape(a)[i]} and {np.shape(b)[j]}")


def product_labels(a: Shape, b: Shape) -> tuple[Labels, Labels, Labels]:
    """Return the labels of the axes of a product a · b, counted from the right."""
    ranks = len(a), len(b), max(len(a), len(b))
    la, lb, ly = (tuple(range(rank, 0, -1)) for rank in ranks)
    return la, lb, ly
