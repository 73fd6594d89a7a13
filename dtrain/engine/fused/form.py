"""The form of a piece: what is compiled, independent of its arrays' addresses.

Pieces that differ only in their arrays and lengths have one form and share its kernel.
A call's arguments are the rest: the lengths of the loops, and each array's address and
strides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from dtrain.engine.fused.regions import Piece
from dtrain.engine.plans.plan import Shape, View

LANES = {"float32": 16, "float64": 8}
"""Accumulators of a sum: element i of a row is added to number i modulo these."""

AHEAD = 4
"""The factor by which the vectors of long rows are wider. A chain of operations leaves
most of a processor idle; several independent chains do not."""

Access = Literal["all", "one", "some", "sum"]
"""How an array is accessed along the innermost loop: consecutive elements, one element,
with a stride, or (for a result) as a sum over the loop."""


@dataclass(frozen=True)
class Port:
    """An array that a kernel reads or writes.

    Attributes:
        dtype: of its elements.
        access: how it is accessed along the innermost loop.
        value: the number of a result's value: operands first, then nodes.
    """

    dtype: str
    access: Access
    value: int = -1


@dataclass(frozen=True)
class Form:
    """What a kernel computes.

    Attributes:
        dtype: of real values.
        width: elements computed in parallel; it changes no bits.
        depth: the number of loops around the innermost one.
        operands: the arrays that it reads; they are the first values.
        nodes: for each further value its operation and the numbers of its operands.
        results: the arrays that it writes.
    """

    dtype: str
    width: int
    depth: int
    operands: tuple[Port, ...]
    nodes: tuple[tuple[str, tuple[int, ...]], ...]
    results: tuple[Port, ...]

    @cached_property
    def name(self) -> str:
        """The kernel's name, a digest of the form."""
        text = repr(self)
        return f"dtrain_{hashlib.sha256(text.encode()).hexdigest()[:24]}"


DTypes = Sequence[np.dtype[Any]]


def form_of(piece: Piece, dtypes: DTypes, real: str) -> tuple[Form, list[View | int]]:
    """Return a piece's form, and its arguments, in which a view stands for its address.

    The arguments are the loops' lengths, outermost first, then for each operand and
    result its address and its strides in bytes, one for each loop; a sum has none for
    the innermost loop.

    Args:
        piece: the piece.
        dtypes: the dtype of each buffer.
        real: the dtype of reals.
    """
    sums = {node.out for node in piece.nodes if node.summed}
    views = (*piece.inputs, *piece.outs)
    lengths, kept = _loops(piece.nodes[0].domain, views, bool(sums))
    numbers = {view: i for i, view in enumerate(piece.inputs)}
    nodes = []
    for number, node in enumerate(piece.nodes, start=len(numbers)):
        nodes.append((node.operation, tuple(numbers[view] for view in node.inputs)))
        numbers[node.out] = number
    arguments: list[View | int] = list(lengths)
    ports = []
    for i, view in enumerate(views):
        dtype = dtypes[view.buffer]
        result = i >= len(piece.inputs)
        access: Access = "sum"
        axes = kept[:-1] if view in sums else kept
        strides = [0 if axis is None else view.strides[axis] for axis in axes]
        if view not in sums:
            access = _ACCESS.get(strides[-1], "some")
            if result and access == "one":  # a single element
                access, strides[-1] = "all", 1
        ports.append(Port(dtype.name, access, numbers[view] if result else -1))
        arguments.append(view)
        arguments += (stride * dtype.itemsize for stride in strides)
    count = len(piece.inputs)
    least = LANES[real]
    scattered = any(port.access == "some" for port in ports)
    wide = lengths[-1] >= least * AHEAD and not scattered
    form = Form(
        real,
        least * AHEAD if wide else least,
        len(lengths) - 1,
        tuple(ports[:count]),
        tuple(nodes),
        tuple(ports[count:]),
    )
    return form, arguments


_ACCESS: dict[int, Access] = {0: "one", 1: "all"}


def _loops(
    domain: Shape, views: Sequence[View], summed: bool
) -> tuple[list[int], list[int | None]]:
    """Return the loops' lengths, and for each the axis whose strides it has.

    Adjacent axes that are evenly spaced in every array are one loop. A sum is a loop of
    its own, inside another one.
    """
    lengths: list[int] = []
    kept: list[int | None] = []
    last = len(domain) - 1
    for axis in range(last, -1, -1):
        length = domain[axis]
        if (
            kept
            and not (summed and axis == last - 1)
            and all(
                view.strides[axis] == view.strides[axis + 1] * domain[axis + 1]
                for view in views
            )
        ):
            lengths[0] *= length
        else:
            lengths.insert(0, length)
            kept.insert(0, axis)
    least = 2 if summed else 1
    while len(lengths) < least:
        lengths.insert(0, 1)
        kept.insert(0, None)
    return lengths, kept
