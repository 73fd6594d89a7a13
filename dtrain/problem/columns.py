"""The columns that a graph reads, checked and in the dtypes that it computes with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dtrain.data.checks import Column
from dtrain.data.columns import Samples
from dtrain.data.ragged import Ragged
from dtrain.descent.loss_graph import TARGET, WEIGHT, LossGraph
from dtrain.errors import DataError
from dtrain.functions import shape
from dtrain.functions.base import Shape
from dtrain.functions.gather import integer
from dtrain.problem.padding import Padding
from dtrain.tracing.graph import FlowGraph

VIEWS = (shape.transpose, shape.reshape, shape.index, shape.broadcast)
_INDEX = np.iinfo(np.intp)


def columns_of(samples: Samples, graph: FlowGraph, dtype: str) -> dict[str, Column]:
    """Return the columns that a graph reads: integers for indices, else in ``dtype``.

    Memory-mapped columns stay as they are: the engine converts them block by block.

    Raises:
        DataError: a column that is used as an index holds something else.
    """
    columns: dict[str, Column] = dict(samples.inputs)
    for name, column in columns.items():
        number = graph.inputs[name]
        if graph.nodes[number].dtype != "int":
            samples.check_not_text(name, f"the program computes with input {name!r}")
        if graph.nodes[number].dtype == "int" and not _only_cast(graph, number):
            _check_index(samples, name, column)
    if samples.target is not None and TARGET in graph.inputs:
        columns[TARGET] = samples.target
    if samples.weight is not None:
        columns[WEIGHT] = samples.weight
    for name, column in columns.items():
        values = column.values if isinstance(column, Ragged) else column
        if not isinstance(values, np.memmap):
            whole = graph.nodes[graph.inputs[name]].dtype == "int"
            # A value too large for the dtype becomes infinite, and is found later.
            with np.errstate(over="ignore", invalid="ignore"):
                if isinstance(column, Ragged):
                    columns[name] = column.astype(np.intp if whole else dtype)
                else:
                    columns[name] = np.ascontiguousarray(
                        column, np.intp if whole else dtype
                    )
    if samples.ragged:
        columns.update(Padding.of(samples).lengths(samples))
    return columns


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


def _check_index(samples: Samples, name: str, given: Column) -> None:
    """Check that a column which is used as an index holds integers that fit."""
    source = samples.source
    column = given.values if isinstance(given, Ragged) else given

    def row_of(place: Any) -> int:
        row = int(place[0])
        return (given.owner(row)[0] if isinstance(given, Ragged) else row) + 1

    if column.dtype.kind == "b":
        raise DataError(
            f"{source}: input {name!r} holds truth values, but the program uses it as "
            "an index; the shape of what a mask selects depends on the data: use "
            "np.where, or .astype(int) for the indices 0 and 1"
        )
    if column.dtype.kind == "u" and column.dtype.itemsize >= _INDEX.dtype.itemsize:
        large = np.argwhere(column > _INDEX.max)  # a cast would make them negative
        if len(large):
            value = column[tuple(large[0])]
            raise DataError(
                f"{source}: row {row_of(large[0])} of input {name!r} is {value}, "
                "but the program uses it as an index, and no axis is longer than "
                f"{_INDEX.max}"
            )
    if column.dtype.kind != "f":
        return
    wrong = np.argwhere(np.trunc(column) != column)  # NaN as well
    if len(wrong):
        value = column[tuple(wrong[0])]
        raise DataError(
            f"{source}: row {row_of(wrong[0])} of input {name!r} is {value}, but "
            "the program uses it as an index, which must be an integer; round it with "
            ".astype(int)"
        )


def check_target(quantity: LossGraph, samples: Samples, given: Shape | None) -> None:
    """Check that the target has the shape that the loss expects.

    Args:
        quantity: the program with its loss.
        samples: the samples.
        given: the shape of one sample's target, padded if it is ragged.

    Raises:
        DataError: it has not, or there is no target.
    """
    target = quantity.target
    if target is None:
        return
    if samples.target is None:
        raise DataError(f"{samples.source}: loss {quantity.loss.name!r} needs a target")
    if not target.labels:
        loss = quantity.loss.name
        samples.check_not_text(TARGET, f"loss {loss!r} computes with the target")
    if given != target.shape:
        output = quantity.output
        raise DataError(
            f"{samples.source}: the target has shape {samples.target_shape} for one "
            f"sample, but program {quantity.graph.name} returns {output}"
            f"{_advice(quantity, samples)}; choose another target (--target, or a "
            "range with --columns), or change the program's output"
            + (" (return ...[0])" if output == (1,) else "")
        )


def _advice(quantity: LossGraph, samples: Samples) -> str:
    """Return advice about class labels, where the loss or the target suggests some."""
    target, output, labels = quantity.target, quantity.output, samples.target
    if target is not None and target.labels:
        return (
            f": loss {quantity.loss.name!r} takes labels of shape {target.shape}, or "
            f"one-hot targets of shape {output}"
        )
    if (
        not isinstance(labels, np.ndarray)
        or labels.ndim != 1
        or len(output) != 1
        or output[0] < 2
    ):
        return ""
    fit = (labels >= 0) & (labels < output[0]) & (labels == np.floor(labels))
    return ": for class labels use --loss cross_entropy (loss=)" if fit.all() else ""


def check_target_values(quantity: LossGraph, samples: Samples, rows: range) -> None:
    """Check that rows of the target hold values that the loss takes.

    Raises:
        DataError: naming the first row that does not.
    """
    target = quantity.target
    if target is not None and math.isfinite(target.low):
        samples.check_target(rows.start, rows.stop, target.fits, target.must)
