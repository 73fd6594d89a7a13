"""What all ranks do together before the first step: read, bind, trace, compare.

Whatever can be wrong is found here, on whichever rank, and told once: a set-up phase
ends in one verdict of all ranks, and what must be equal is compared.
"""

from __future__ import annotations

import math
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.columns import Dataset, Samples
from dtrain.descent.loss_graph import TARGET, LossGraph, loss_graph
from dtrain.errors import DataError, MismatchError, ProgramError, UsageError
from dtrain.functions.gather import integer
from dtrain.tracing.expand import expand
from dtrain.tracing.graph import CONSTANT, FlowGraph
from dtrain.tracing.printing import formula, label
from dtrain.tracing.trace import Program
from dtrain.training.settings import Settings
from dtrain.worlds.verdict import mark_agreed
from dtrain.worlds.world import World

_PLACE = np.iinfo(np.intp)

Data = Mapping[str, Any] | str | os.PathLike[str] | Dataset


@contextmanager
def together(world: World) -> Iterator[None]:
    """Set-up that may fail on some ranks only: all ranks go on, or all raise.

    What needs more memory than there is has been asked for by the user.
    """
    try:
        yield
    except MemoryError as error:
        world.agree(UsageError(f"there is not enough memory: {error}".rstrip(": ")))
        raise  # not reached: an error is never agreed away
    except Exception as error:
        world.agree(error)
        raise  # not reached, either
    world.agree(None)


def compare_settings(world: World, settings: Settings) -> None:
    """Hold the settings of all ranks against each other, and name what differs.

    Raises:
        MismatchError: on every rank.
    """
    described = settings.describe()
    if len(set(world.allgather(repr(described).encode()))) > 1:
        for option, text in described.items():
            world.compare(option, text)


def threads_of(world: World, execution: str, threads: int | None) -> int:
    """How many threads a rank computes with; collective.

    By default one, or, if the execution model runs steps at once, the rank's share of
    the cores that it may use: ranks of one host may have the same cores, or others.
    """
    if threads is not None:
        return threads
    if execution == "sequential":
        return 1
    if hasattr(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0))
    else:
        cores = list(range(os.cpu_count() or 1))
    ours = repr((world.hosts[world.rank], cores)).encode()
    return max(len(cores) // world.allgather(ours).count(ours), 1)


def compare_programs(world: World, graph: FlowGraph) -> None:
    """Hold the programs of all ranks against each other; nodes only where they differ.

    Raises:
        MismatchError: on every rank, naming the first node that differs and its lines.
    """
    try:
        world.compare("program", graph.fingerprint)
    except MismatchError as error:
        graph = expand(graph)
        sums = [zlib.crc32(node.identity) for node in graph.nodes]
        told = world.allgather(np.array(sums, np.uint32).tobytes())
        rank = error.rank or 0
        other = told.index(Counter(told).most_common(1)[0][0])
        each = [np.frombuffer(told[i], np.uint32) for i in (rank, other)]
        shorter = min(map(len, each))
        unequal = np.flatnonzero(each[0][:shorter] != each[1][:shorter])
        first = int(unequal[0]) if unequal.size else shorter
        texts = [text.decode() for text in world.allgather(_nth(graph, first))]
        if told[rank] != told[other]:
            found = MismatchError(
                f"{error}; the first node that differs: {texts[rank]} on rank {rank}, "
                f"{texts[other]} on rank {other}"
            )
            raise mark_agreed(found, rank) from None
        raise


def _nth(graph: FlowGraph, number: int) -> bytes:
    """A node, and the line that made it, for a person."""
    if number >= len(graph.nodes):
        return b"none"
    node = graph.nodes[number]
    what = formula(graph, node)
    if node.function is CONSTANT:
        what += f" {label(graph, number)}" if node.shape == () else ""
    elif not node.inputs:
        what += f" {node.name!r}"
    return f"{what} of shape {node.shape} at {node.source}".encode()


def check_program(program: Program) -> None:
    """Refuse what is no program, such as a plain function.

    Raises:
        ProgramError: saying how to make it one.
    """
    if not isinstance(program, Program):
        name = getattr(program, "__name__", repr(program))
        raise ProgramError(f"{name} is no program: mark the function with @program")


def check_callbacks(callbacks: Any) -> None:
    """Refuse callbacks that could not be called.

    Raises:
        UsageError: saying what to give.
    """
    if not isinstance(callbacks, list | tuple) or not all(map(callable, callbacks)):
        raise UsageError("callbacks must be a list of callables, such as [print]")


def trace_objective(
    program: Program, samples: Samples, settings: Settings
) -> LossGraph:
    """Trace a program for the shapes of its data, and join it with the loss.

    Raises:
        ProgramError: if it has no weights, or is another one when traced again.
        DataError: the target's width is not that of the program's output.
    """
    shapes = {name: column.shape[1:] for name, column in samples.inputs.items()}
    graph = program.trace(**shapes)
    if not graph.weights:
        raise ProgramError(f"program {program.name} has no weights to train")
    if program.trace(**shapes).fingerprint != graph.fingerprint:
        raise ProgramError(
            f"program {program.name} is another one each time it is traced: it uses "
            "random numbers, the time, or something else that changes, and such values "
            "would be frozen as constants; pass them in as inputs"
        )
    joined = loss_graph(graph, settings.the_loss, samples.target_shape)
    check_target(joined, samples)
    return joined


def check_target(joined: LossGraph, samples: Samples) -> None:
    """Hold the target's shape against what the loss expects.

    Raises:
        DataError: if they differ.
    """
    target = joined.target
    if target is None:
        return
    if samples.target is None:
        raise DataError(f"{samples.source}: loss {joined.loss.name!r} needs a target")
    if samples.target_shape != target.shape:
        output = joined.output
        raise DataError(
            f"{samples.source}: the target has shape {samples.target_shape} for one "
            f"sample, but program {joined.graph.name} returns {output}"
            f"{_advice(joined, samples)}; choose another target (--target, or a range "
            "with --columns), or change the program's output"
            + (" (return ...[0])" if output == (1,) else "")
        )


def _advice(joined: LossGraph, samples: Samples) -> str:
    """What to say of labels: where the loss takes some, or the target looks so."""
    target, output, labels = joined.target, joined.output, samples.target
    if target is not None and target.labels:
        return (
            f": loss {joined.loss.name!r} takes labels of shape {target.shape}, or "
            f"one-hot targets of shape {output}"
        )
    if labels is None or labels.ndim != 1 or len(output) != 1 or output[0] < 2:
        return ""
    fit = (labels >= 0) & (labels < output[0]) & (labels == np.floor(labels))
    return ": for class labels give --loss cross_entropy (loss=)" if fit.all() else ""


def check_values(joined: LossGraph, samples: Samples, rows: range) -> None:
    """Hold rows of the target against the values that the loss takes.

    Raises:
        DataError: naming the first row that does not fit.
    """
    target = joined.target
    if target is not None and math.isfinite(target.low):
        samples.check_target(rows.start, rows.stop, target.fits, target.must)


def columns_in(
    samples: Samples, graph: FlowGraph, dtype: str
) -> dict[str, NDArray[Any]]:
    """The columns that a graph reads, in its dtypes: the run's, or integers.

    Memory-mapped ones are converted by the block.

    Raises:
        DataError: if a column of places holds something else.
    """
    columns = dict(samples.inputs)
    for name, column in columns.items():
        number = graph.inputs[name]
        if graph.nodes[number].dtype == "int" and not _only_cast(graph, number):
            _check_whole(samples, name, column)
    if samples.target is not None and TARGET in graph.inputs:
        columns[TARGET] = samples.target
    for name, column in columns.items():
        if not isinstance(column, np.memmap):
            whole = graph.nodes[graph.inputs[name]].dtype == "int"
            # What is too large ends as not finite; an integer is then the smallest.
            with np.errstate(over="ignore", invalid="ignore"):
                columns[name] = np.ascontiguousarray(
                    column, np.intp if whole else dtype
                )
    return columns


def _only_cast(graph: FlowGraph, number: int) -> bool:
    """Whether an input is read by casts alone, which truncate what is no integer."""
    readers = [node for node in graph.nodes if number in node.inputs]
    casts = [node for node in readers if node.function is integer and node.params]
    return len(readers) == len(casts) > 0


def _check_whole(samples: Samples, name: str, column: NDArray[Any]) -> None:
    """Refuse truth values, and numbers that are no such integers, as places."""
    if column.dtype.kind == "b":
        raise DataError(
            f"{samples.source}: input {name!r} holds truth values, but the program "
            "uses it as an index; the shape of what a mask picks depends on the data: "
            "use np.where, or .astype(int) for the places 0 and 1"
        )
    if column.dtype.kind == "u" and column.dtype.itemsize >= _PLACE.dtype.itemsize:
        large = np.argwhere(column > _PLACE.max)  # they would come out negative
        if len(large):
            row, value = large[0][0], column[tuple(large[0])]
            raise DataError(
                f"{samples.source}: row {row + 1} of input {name!r} is {value}, but "
                f"the program uses it as an index, and no axis is longer than "
                f"{_PLACE.max}"
            )
    if column.dtype.kind != "f":
        return
    wrong = np.argwhere(np.trunc(column) != column)  # NaN as well
    if len(wrong):
        row, value = wrong[0][0], column[tuple(wrong[0])]
        raise DataError(
            f"{samples.source}: row {row + 1} of input {name!r} is {value}, but "
            "the program uses it as an index, which must be an integer; round it and "
            "say so with .astype(int)"
        )
