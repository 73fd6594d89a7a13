"""Outputs of programs on data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from dtrain.data.binding import Spec
from dtrain.host import numerics
from dtrain.host.blas import blas_threads
from dtrain.problem.outputs import Outputs
from dtrain.problem.remembered import (
    categories_of,
    check_known,
    check_same_program,
    opened,
    usual_columns,
)
from dtrain.problem.reuse import Reuse, signature
from dtrain.problem.samples import (
    Inputs,
    as_samples,
    as_weights,
    check_call,
    dtype_of,
    named_weights,
)
from dtrain.tracing.trace import Program

_outputs: Reuse[Outputs] = Reuse()


def predict(
    program: Program,
    weights: Mapping[str, Any],
    inputs: Inputs,
    *,
    columns: Mapping[str, Spec] | None = None,
    separator: str | None = None,
) -> NDArray[Any] | dict[str, NDArray[Any]]:
    """Compute the program's output for every sample.

    Args:
        program: the program.
        weights: values by name, a `Run`, or the path of a weights file; their dtype is
            the result's.
        inputs: as for `loss_and_gradient`.
        columns: which columns the inputs are, as in `dtrain.train`; by default those
            that the weights' run has read, if the data have them.
        separator: what separates the columns of a text file, as in `dtrain.train`.

    Returns:
        An array whose first axis is the sample, or a dict of arrays if the program has
        several named outputs.

    Raises:
        UsageError, DataError, ProgramError: as `loss_and_gradient`.

    Example:
        >>> from dtrain import predict, program, weight
        >>> @program
        ... def double(x):
        ...     return weight("W") * x
        >>> predict(double, {"W": 2.0}, [[1.0, 2.0]])
        array([2., 4.])
    """
    check_call("predict", program, weights)
    numerics.check_pins()
    source = opened(weights)
    known, weights = categories_of(source), named_weights(source)
    samples = as_samples(
        program,
        inputs,
        columns=columns,
        separator=separator,
        categories=known,
        usual=usual_columns(source),
    )
    check_known(samples, known)
    made = _outputs.get(
        program,
        (signature(samples), dtype_of(weights)),
        lambda: Outputs(program, samples, weights),
        lambda outputs: outputs.traced,
    )
    check_same_program(made.traced, source)
    as_weights(made.weights.layout, weights, made.weights)
    with blas_threads(1), made.reading(samples):
        outputs = made.rows(0, len(samples))
    return outputs if len(outputs) > 1 else next(iter(outputs.values()))
