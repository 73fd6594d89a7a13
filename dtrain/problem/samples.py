"""What callers pass as data and weights: accepted in many forms, checked once."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.checkpoint.folder import load
from dtrain.data.binding import Spec, bind
from dtrain.data.checks import Column
from dtrain.data.columns import Samples
from dtrain.data.ragged import Ragged, is_ragged, of_arrays
from dtrain.data.readers import is_named, open_data
from dtrain.data.values import as_array
from dtrain.errors import DataError, ProgramError, UsageError
from dtrain.gradient.vector import Layout, Weights
from dtrain.tracing.trace import Program, check_outside

LOG = logging.getLogger("dtrain")
Data = Any
"""Named columns: a mapping, a frame, a path, or a data set that is already open."""

Inputs = Any
"""Named columns, or one array for each input in the program's order."""


def check_call(what: str, program: Any, weights: Any = None) -> None:
    """Check that a public function is called outside of programs, with a program.

    Args:
        what: the function's name.
        program: what was given as the program.
        weights: what was given as weights, to recognise arguments in another order.

    Raises:
        ProgramError: it is not; UsageError: weights and inputs are interchanged.
    """
    check_outside(what)
    names = set(weights) if isinstance(weights, Mapping) else set()
    if check_program(program).inputs and names >= set(program.inputs):
        raise UsageError(
            f"weights has the program's inputs ({', '.join(program.inputs)}): the "
            "order of the arguments is program, weights, inputs"
        )


def check_program(program: Any) -> Program:
    """Return a program, or raise a ProgramError that says how to make one."""
    if not isinstance(program, Program):
        name = getattr(program, "__name__", repr(program))
        raise ProgramError(f"{name} is not a program: mark the function with @program")
    return program


def as_samples(
    program: Program,
    inputs: Inputs,
    targets: Any = None,
    *,
    target: str | None = None,
    columns: Mapping[str, Spec] | None = None,
    with_target: bool = False,
    separator: str | None = None,
    missing: str = "refuse",
    categories: Mapping[str, Sequence[str]] | None = None,
    sample_weight: Any = None,
    usual: Mapping[str, Sequence[str]] | None = None,
) -> Samples:
    """Bind what a caller gave to the inputs of a program.

    Args:
        program: the program.
        inputs: named columns (a mapping, a path, a data set), or one array for each
            input, or one array for a program of one input. First axis: the sample.
        targets: an array, first axis the sample.
        target: with named columns and no ``targets``, the column to compare with.
        columns: with named columns, the columns of an input, as in `resolve`.
        with_target: whether to look for the target among named columns.
        separator: with named columns, as in `open_data`.
        missing: with named columns, as in `Binding.read`.
        categories: with named columns, the texts that are known, as in `Samples`.
        sample_weight: the weight of each sample: an array, or a named column.
        usual: with named columns, as in `resolve`.

    Raises:
        DataError: an input is missing, is not an array of numbers, or has another
            number of samples.
    """
    check_program(program)
    if not program.inputs and targets is None and not with_target:
        raise DataError(
            f"program {program.name} has no inputs, so there are no samples"
        )
    column = sample_weight if isinstance(sample_weight, str) else None
    if targets is not None and missing == "skip":
        raise UsageError(
            "missing is 'skip', but the targets are given apart from the inputs: make "
            "them a named column, so that both lose the same rows"
        )
    if not is_named(inputs):
        if column is not None:
            raise UsageError(
                f"sample_weight is {column!r}, but the inputs have no names: give an "
                "array"
            )
        samples = _checked(_in_order(program, inputs), targets)
    else:
        samples = bind(
            open_data(inputs, separator),
            program.inputs,
            target if targets is None else None,
            columns or {},
            with_target=with_target and targets is None,
            missing=missing,
            categories=categories,
            sample_weight=column,
            usual=usual,
        )
        if targets is not None:
            weight = samples.weight
            samples = replace(
                _checked(samples.inputs, targets),
                categories=samples.categories,
                weight=weight,
            )
    if sample_weight is not None and column is None:
        samples = replace(samples, weight=_weights_of(samples, sample_weight))
    samples.check_weight(0, len(samples))
    return samples


def _weights_of(samples: Samples, given: Any) -> NDArray[Any]:
    """Return an array of weights of samples, checked.

    Raises:
        DataError: it is not one number of 0 or more for each sample.
    """
    weight = _array("sample_weight", given)
    shape = (len(samples),)
    if (
        isinstance(weight, Ragged)
        or weight.shape != shape
        or weight.dtype.kind not in "biuf"
    ):
        raise DataError(
            f"sample_weight has shape {weight.shape}: give one number for each of the "
            f"{len(samples)} samples"
        )
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise DataError("sample_weight must be finite numbers of 0 or more")
    return weight


def _in_order(program: Program, inputs: Any) -> dict[str, Column]:
    """Return arrays given in the program's order, by input name."""
    names = program.inputs
    if isinstance(inputs, Ragged) or (
        isinstance(inputs, np.ndarray) and inputs.dtype.names is None
    ):
        inputs = [inputs]
    if not isinstance(inputs, list | tuple):
        raise DataError(
            f"inputs is {type(inputs).__name__}: give named columns, such as "
            f"{{{', '.join(f'{name!r}: ...' for name in names)}}}, a path, or a list "
            "with one array for each input"
        )
    if len(names) == 1 and len(inputs) > 1 and all(map(np.isscalar, inputs)):
        raise DataError(
            f"inputs is a list of {len(inputs)} numbers: program {program.name} takes "
            f"one array for each input: give [values], or {{{names[0]!r}: values}}"
        )
    if len(inputs) != len(names):
        raise DataError(
            f"program {program.name} takes {len(names)} inputs ({', '.join(names)}), "
            f"not {len(inputs)}: give one array for each"
        )
    return {
        name: _array(f"input {name!r}", given)
        for name, given in zip(names, inputs, strict=True)
    }


def _array(name: str, given: Any) -> Column:
    if is_ragged(given):
        return of_arrays(given, name)
    try:
        return as_array(name, given)
    except ValueError:  # NumPy's, for nested lists of different lengths
        raise DataError(
            f"{name} has samples of different shapes: all samples must have one shape, "
            "or differ in the length of the first axis alone (dtrain.ragged)"
        ) from None


def _checked(arrays: Mapping[str, Column], targets: Any) -> Samples:
    """Return arrays as samples, if all hold numbers for the same number of samples."""
    target = None if targets is None else _array("targets", targets)
    everything = {**arrays, **({} if target is None else {"targets": target})}
    for name, array in everything.items():
        if array.ndim == 0 or array.dtype.kind not in "biuf":
            raise DataError(
                f"{name} must be an array of numbers, first axis the sample"
            )
    lengths = {name: len(array) for name, array in everything.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"different numbers of samples: {lengths}")
    if not all(lengths.values()):
        raise DataError("there are no samples")
    origins = tuple((name,) for name in everything)
    return Samples(dict(arrays), target, "the arrays given", origins)


def as_weights(layout: Layout, values: Any, into: Weights | None = None) -> Weights:
    """Return what a caller gave as weights, in a layout.

    Args:
        layout: the names, shapes and dtype that are expected.
        values: numbers or arrays by name, a `Run`, or the path of a weights file or of
            a folder of checkpoints.
        into: weights of that layout to write into; by default new ones.

    Raises:
        UsageError: a name or a shape does not fit.
    """
    weights = Weights(layout) if into is None else into
    weights.assign(named_weights(values))
    return weights


def named_weights(values: Any) -> Mapping[str, Any]:
    """Return the arrays by name of a mapping, a `Run`, or a path.

    Raises:
        UsageError: it is none of these; DataError: the file holds no weights.
    """
    if isinstance(values, str | os.PathLike):
        return load(values)
    inner = values if isinstance(values, Mapping) else getattr(values, "weights", None)
    if not isinstance(inner, Mapping):
        raise UsageError(
            f"weights is {type(values).__name__}: give arrays by name, a Run, or the "
            "path of a weights file"
        )
    return inner


def dtype_of(weights: Mapping[str, Any]) -> str:
    """Return the dtype that weights were trained in."""
    dtypes = {np.asarray(value).dtype.name for value in weights.values()}
    return "float32" if dtypes == {"float32"} else "float64"
