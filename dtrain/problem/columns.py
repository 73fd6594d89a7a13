"""The columns that a graph reads, checked and in the dtypes that it computes with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.columns import Samples
from dtrain.data.keys import TARGET_KEY, target_text
from dtrain.data.parts import Allocate
from dtrain.descent.loss_graph import WEIGHT, Fitted, LossGraph
from dtrain.errors import DataError
from dtrain.functions import shape
from dtrain.functions.gather import integer
from dtrain.tracing.graph import FlowGraph

VIEWS = (shape.transpose, shape.reshape, shape.index, shape.broadcast)
_INDEX = np.iinfo(np.intp)


def columns_of(
    samples: Samples,
    graph: FlowGraph,
    dtype: str,
    allocate: Allocate = np.empty,
) -> dict[str, NDArray[Any]]:
    """Return the columns that a graph reads: integers for indices, else in ``dtype``.

    Memory-mapped columns stay as they are: the engine converts them block by block.
    ``allocate`` makes the arrays of columns that have another dtype or layout.

    Raises:
        DataError: a column that is used as an index holds something else.
    """
    columns = dict(samples.inputs)
    for name, column in columns.items():
        number = graph.inputs[name]
        if graph.nodes[number].dtype != "int":
            samples.check_not_text(name, f"the program computes with input {name!r}")
        if graph.nodes[number].dtype == "int" and not _only_cast(graph, number):
            _check_index(samples, name, column)
    columns |= {
        name: target for name, target in samples.targets.items() if name in graph.inputs
    }
    if samples.weight is not None:
        columns[WEIGHT] = samples.weight
    for name, column in columns.items():
        if not isinstance(column, np.memmap):
            whole = graph.nodes[graph.inputs[name]].dtype == "int"
            # A value too large for the dtype becomes infinite, and is found later.
            with np.errstate(over="ignore", invalid="ignore"):
                columns[name] = _in_order(
                    column, np.dtype(np.intp if whole else dtype), allocate
                )
    return columns


def _in_order(
    column: NDArray[Any], dtype: np.dtype[Any], allocate: Allocate
) -> NDArray[Any]:
    """Return a column in a dtype and in C order; itself if it is so already."""
    if column.dtype == dtype and column.flags.c_contiguous:
        return np.asarray(column)
    converted = allocate(column.shape, dtype)
    np.copyto(converted, column, casting="unsafe")
    return converted


def nan_aware(graph: FlowGraph) -> frozenset[str]:
    """Return the inputs in which a program looks for NaN, by np.isnan or np.nanmean.

    They may be read through views: an element, a slice, another shape.
    """
    found = set()
    for name, number in graph.inputs.items():
        views = {number}
        for each, node in enumerate(graph.nodes):
            if views.isdisjoint(node.inputs):
                continue
            if node.function.name == "isnan":
                found.add(name)
            elif node.function in VIEWS:
                views.add(each)
    return frozenset(found)


def _only_cast(graph: FlowGraph, number: int) -> bool:
    """Return whether only casts read an input; they truncate what is not an integer."""
    readers = [node for node in graph.nodes if number in node.inputs]
    casts = [node for node in readers if node.function is integer and node.params]
    return len(readers) == len(casts) > 0


def _check_index(samples: Samples, name: str, column: NDArray[Any]) -> None:
    """Check that a column which is used as an index holds integers that fit."""
    source = samples.source
    if column.dtype.kind == "b":
        raise DataError(
            f"{source}: input {name!r} holds truth values, but the program uses it as "
            "an index; the shape of what a mask selects depends on the data: use "
            "np.where, or .astype(int) for the indices 0 and 1"
        )
    if column.dtype.kind == "u" and column.dtype.itemsize >= _INDEX.dtype.itemsize:
        large = np.argwhere(column > _INDEX.max)  # a cast would make them negative
        if len(large):
            row, value = large[0][0], column[tuple(large[0])]
            raise DataError(
                f"{source}: row {row + 1} of input {name!r} is {value}, but the "
                f"program uses it as an index, and no axis is longer than {_INDEX.max}"
            )
    if column.dtype.kind != "f":
        return
    wrong = np.argwhere(np.trunc(column) != column)  # NaN as well
    if len(wrong):
        row, value = wrong[0][0], column[tuple(wrong[0])]
        raise DataError(
            f"{source}: row {row + 1} of input {name!r} is {value}, but the program "
            "uses it as an index, which must be an integer; round it with .astype(int)"
        )


def check_targets(quantity: LossGraph, samples: Samples) -> None:
    """Check that the targets have the shapes that the losses expect.

    Raises:
        DataError: one has not, or is missing.
    """
    for name, term in quantity.terms.items():
        if term.target is not None:
            _check_target(quantity, samples, name, term)


def _check_target(
    quantity: LossGraph, samples: Samples, name: str, term: Fitted
) -> None:
    target, loss, found = term.target, term.loss.name, samples.targets.get(name)
    assert target is not None  # noqa: S101  (the caller's check)
    what = target_text(name)
    if found is None:
        needed = "a target" if name == TARGET_KEY else what
        raise DataError(f"{samples.source}: loss {loss!r} needs {needed}")
    if not target.labels:
        samples.check_not_text(name, f"loss {loss!r} computes with {what}")
    if found.shape[1:] != target.shape:
        raise DataError(
            f"{samples.source}: {what} has shape {found.shape[1:]} for one "
            f"sample, but program {quantity.graph.name} returns {term.output}"
            f"{_advice(term, found)}; choose another target (--target, or a "
            "range with --columns), or change the program's output"
            + (" (return ...[0])" if term.output == (1,) else "")
        )


def _advice(term: Fitted, labels: NDArray[Any]) -> str:
    """Return advice about class labels, where the loss or the target suggests some."""
    target, output = term.target, term.output
    if target is not None and target.labels:
        return (
            f": loss {term.loss.name!r} takes labels of shape {target.shape}, or "
            f"one-hot targets of shape {output}"
        )
    if labels.ndim != 1 or len(output) != 1 or output[0] < 2:
        return ""
    fit = (labels >= 0) & (labels < output[0]) & (labels == np.floor(labels))
    return ": for class labels use --loss cross_entropy (loss=)" if fit.all() else ""


def check_target_values(quantity: LossGraph, samples: Samples, rows: range) -> None:
    """Check that rows of the targets hold values that the losses take.

    Raises:
        DataError: naming the first row that does not.
    """
    for name, term in quantity.terms.items():
        target = term.target
        if target is not None and math.isfinite(target.low):
            samples.check_target(name, rows.start, rows.stop, target.fits, target.must)
