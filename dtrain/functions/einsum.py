"""NumPy's other functions for sums of products, all as contractions.

Operands are contracted in pairs from the left. A label is summed over as soon as
neither a later operand nor the result has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dtrain.functions.axes import listed, one_axis
from dtrain.functions.base import Expression, adapter
from dtrain.functions.contraction import Labels, sum_of_products


@adapter(np.einsum)
def _einsum(subscripts: str, *operands: Any, optimize: Any = False) -> Any:
    """Return a sum of products by labels: ``einsum("ij,jk->ik", A, B)`` is ``A @ B``.

    A label that one operand has twice picks its diagonal. ``...`` stands for further
    axes, which broadcast.
    """
    if not isinstance(subscripts, str):
        raise TypeError('write the labels as a text, such as "ij,j->i"')
    labels, result = _parsed(subscripts, [np.ndim(x) for x in operands])
    terms = [_with_diagonals(*term) for term in zip(operands, labels, strict=True)]
    x, la = terms[0]
    for n, (other, lb) in enumerate(terms[1:], start=2):
        later = {*result, *(label for _, more in terms[n:] for label in more)}
        kept = tuple(i for i in dict.fromkeys(la + lb) if i in later)
        x, la = sum_of_products(x, other, (la, lb, kept)), kept
    lone = tuple(axis for axis, label in enumerate(la) if label not in result)
    x = np.sum(x, axis=lone) if lone else x
    la = tuple(label for label in la if label in result)
    return np.transpose(x, tuple(la.index(label) for label in result))


def _parsed(subscripts: str, ranks: Sequence[int]) -> tuple[list[Labels], Labels]:
    """Return the labels of operands and result as numbers, negative for ``...``."""
    given, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = given.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"{subscripts!r} is for {len(terms)} operands")
    if not arrow:  # NumPy's rule: the labels that occur once, in alphabetical order
        letters = given.replace(",", "").replace(".", "")
        once = sorted(x for x in set(letters) if letters.count(x) == 1)
        result = ("..." if "..." in given else "") + "".join(once)
    labels = []
    more = 0
    for term, rank in zip(terms, ranks, strict=True):
        extra = rank - len(term.replace("...", ""))
        if extra < 0 or (extra and "..." not in term):
            raise ValueError(f"{term!r} is for another number of axes than {rank}")
        labels.append(_numbers(term, extra))
        more = max(more, extra)
    if more and "..." not in result:
        raise ValueError(f"the result {result!r} needs the ... of the operands")
    final = _numbers(result, more)
    unknown = {*final}.difference(*labels)
    if unknown or len({*final}) < len(final):
        raise ValueError(f"the result {result!r} needs each label of operands once")
    return labels, final


def _numbers(term: str, extra: int) -> Labels:
    before, dots, after = term.partition("...")
    middle = range(-extra, 0) if dots else ()
    return (*map(ord, before), *middle, *map(ord, after))


def _with_diagonals(x: Expression, labels: Labels) -> tuple[Any, Labels]:
    """Take the diagonal of axes with equal labels."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            if np.shape(x)[i] != np.shape(x)[j]:
                raise ValueError(f"{chr(label)!r} has two sizes")
            x = np.diagonal(x, 0, i, j)
            rest = (k for axis, k in enumerate(labels) if axis not in (i, j))
            labels = (*rest, label)
    return x, labels


@adapter(np.tensordot)
def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Sum over pairs of axes: the last n of a and first n of b, or named ones."""
    na, nb = np.ndim(a), np.ndim(b)
    if isinstance(axes, int | np.integer):
        left, right = [i - axes for i in range(axes)], list(range(axes))
    else:
        left, right = map(listed, axes)
    pairs = [
        (one_axis(i, na), one_axis(j, nb)) for i, j in zip(left, right, strict=True)
    ]
    if any(len({*each}) < len(pairs) for each in zip(*pairs, strict=True)):
        raise ValueError(f"an axis is named twice in {axes}")
    lb = list(range(na, na + nb))
    for i, j in pairs:
        if np.shape(a)[i] != np.shape(b)[j]:
            raise ValueError(f"axes of {np.shape(a)[i]} and {np.shape(b)[j]}")
        lb[j] = i
    summed = {i for i, _ in pairs}
    ly = [label for label in (*range(na), *lb) if label not in summed]
    return sum_of_products(a, b, (tuple(range(na)), tuple(lb), tuple(ly)))


@adapter(np.linalg.tensordot)
def _linalg_tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Any:
    return np.tensordot(x1, x2, axes)


@adapter(np.inner)
def _inner(a: Any, b: Any) -> Any:
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return np.multiply(a, b)
    return np.tensordot(a, b, (-1, -1))


@adapter(np.vdot)
def _vdot(a: Any, b: Any) -> Any:
    return np.dot(np.ravel(a), np.ravel(b))


@adapter(np.kron)
def _kron(a: Any, b: Any) -> Any:
    """Return the blocks made of each element of a times all of b."""
    rank = max(np.ndim(a), np.ndim(b))
    shapes = [(1,) * (rank - np.ndim(x)) + np.shape(x) for x in (a, b)]
    rows = np.reshape(a, tuple(n for size in shapes[0] for n in (size, 1)))
    columns = np.reshape(b, tuple(n for size in shapes[1] for n in (1, size)))
    full = tuple(m * n for m, n in zip(*shapes, strict=True))
    return np.reshape(rows * columns, full)


@adapter(np.linalg.matmul)
def _linalg_matmul(x1: Any, x2: Any, /) -> Any:
    return np.matmul(x1, x2)


@adapter(np.linalg.outer)
def _linalg_outer(x1: Any, x2: Any, /) -> Any:
    if np.ndim(x1) != 1 or np.ndim(x2) != 1:
        raise ValueError("linalg.outer takes two vectors; np.outer takes more")
    return np.outer(x1, x2)


@adapter(np.linalg.vecdot)
def _linalg_vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    return np.vecdot(*(np.moveaxis(x, axis, -1) for x in (x1, x2)))


@adapter(np.cross)
def _cross(
    a: Any,
    b: Any,
    axisa: int = -1,
    axisb: int = -1,
    axisc: int = -1,
    axis: int | None = None,
) -> Any:
    """Return the vector product of vectors of three elements."""
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(a, axisa, -1), np.moveaxis(b, axisb, -1)
    if np.shape(a)[-1] != 3 or np.shape(b)[-1] != 3:
        raise ValueError("cross takes vectors of three")
    (a0, a1), (b0, b1) = (
        [np.roll(x, shift, axis=-1) for shift in (-1, -2)] for x in (a, b)
    )
    return np.moveaxis(a0 * b1 - a1 * b0, -1, axisc)


@adapter(np.linalg.cross)
def _linalg_cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    return np.cross(x1, x2, axis=axis)
