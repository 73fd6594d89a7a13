"""What all ranks do together before the first step: read, bind, trace, compare.

Whatever can be wrong is found here, on whichever rank, and told once: a set-up phase
ends in one verdict of all ranks, and what must be equal is compared.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.columns import Dataset, Samples
from dtrain.descent.objective import TARGET, Objective, objective
from dtrain.errors import DataError, ProgramError, UsageError
from dtrain.parallel.world import World
from dtrain.program.trace import Program
from dtrain.training.settings import Settings

Data = Mapping[str, Any] | str | os.PathLike[str] | Dataset


@contextmanager
def together(world: World) -> Iterator[None]:
    """Set-up that may fail on some ranks only: all ranks go on, or all raise."""
    try:
        yield
    except Exception as error:
        world.agree(error)
        raise  # not reached: an error is never agreed away
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
) -> Objective:
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
    joined = objective(graph, settings.the_loss)
    check_target(joined, samples)
    return joined


def check_target(joined: Objective, samples: Samples) -> None:
    """Hold the target's shape against what the loss expects.

    Raises:
        DataError: if they differ.
    """
    expected = joined.loss.target_shape(joined.output)
    if expected is None:
        return
    if samples.target is None:
        raise DataError(f"{samples.source}: loss {joined.loss.name!r} needs a target")
    if samples.target.shape[1:] != expected:
        raise DataError(
            f"{samples.source}: the target has shape {samples.target.shape[1:]} for "
            f"one sample, but program {joined.graph.name} returns {expected}; choose "
            "another target (--target, or a range with --columns), or change the "
            "program's output" + (" (return ...[0])" if expected == (1,) else "")
        )


def columns_in(
    samples: Samples, dtype: str, integers: Collection[str] = ()
) -> dict[str, NDArray[Any]]:
    """The columns in the run's dtype; memory-mapped ones are converted by the block.

    Args:
        samples: the samples.
        dtype: the run's.
        integers: the inputs that are places in arrays, and so stay integers.

    Raises:
        DataError: if such a column holds something else.
    """
    columns = dict(samples.inputs)
    if samples.target is not None:
        columns[TARGET] = samples.target
    with np.errstate(over="ignore"):  # what is too large ends as a loss not finite
        return {
            name: _whole(samples, name, column)
            if name in integers
            else column
            if isinstance(column, np.memmap)
            else np.ascontiguousarray(column, dtype)
            for name, column in columns.items()
        }


def _whole(samples: Samples, name: str, column: NDArray[Any]) -> NDArray[Any]:
    """A column of integers, however they are stored."""
    if column.dtype.kind == "f":
        wrong = np.argwhere(np.trunc(column) != column)  # NaN as well
        if len(wrong):
            row, value = wrong[0][0], column[tuple(wrong[0])]
            raise DataError(
                f"{samples.source}: row {row + 1} of input {name!r} is {value}, but "
                "the program uses it as an index, which must be an integer"
            )
    if isinstance(column, np.memmap) and column.dtype.kind != "f":
        return column
    return np.ascontiguousarray(column, np.intp)
