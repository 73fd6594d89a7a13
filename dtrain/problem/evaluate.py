"""Programs on data: loss and gradient, metrics, outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.binding import Spec
from dtrain.data.columns import Samples
from dtrain.data.ragged import Ragged
from dtrain.descent import losses
from dtrain.descent.losses import Loss
from dtrain.descent.penalties import Norms, Penalty
from dtrain.errors import UsageError
from dtrain.gradient.vector import Weights
from dtrain.host import numerics
from dtrain.host.blas import blas_threads
from dtrain.problem.columns import check_target_values, columns_of
from dtrain.problem.evaluator import Computing, Evaluator, reading, threads_of, whole
from dtrain.problem.outputs import Outputs
from dtrain.problem.problem import Problem, read_samples
from dtrain.problem.remembered import (
    categories_of,
    check_known,
    check_same_program,
    chosen_loss,
    opened,
    usual_columns,
)
from dtrain.problem.reuse import Reuse, signature
from dtrain.problem.samples import (
    Data,
    Inputs,
    as_samples,
    as_weights,
    check_call,
    dtype_of,
    named_weights,
)
from dtrain.tracing.trace import Program
from dtrain.tracing.weights import check_dtype
from dtrain.worlds.local import SoloWorld
from dtrain.worlds.opening import open_world
from dtrain.worlds.world import World

_evaluators: Reuse[tuple[Evaluator, Weights]] = Reuse()
_outputs: Reuse[Outputs] = Reuse()


@np.errstate(all="ignore")  # a loss may be infinite
def loss_and_gradient(
    program: Program,
    weights: Mapping[str, Any],
    inputs: Inputs,
    targets: Any = None,
    *,
    target: str | None = None,
    columns: Mapping[str, Spec] | None = None,
    separator: str | None = None,
    missing: str = "refuse",
    loss: str | Loss = "square",
    sample_weight: Any = None,
    penalty: Penalty | None = None,
    dtype: Any = "float64",
    block: int | None = None,
    execution: str = "sequential",
    backend: str = "numpy",
) -> tuple[float, dict[str, NDArray[Any]]]:
    """Compute the mean loss over samples, and its derivative by every weight.

    It runs in this process alone. What was planned for a call is used again by later
    calls with the same program, shapes and options.

    Args:
        program: the program.
        weights: values by name, a `Run`, or the path of a weights file.
        inputs: named columns (a mapping or a path), or arrays in the order of the
            program's inputs, or one array for a program of one input. The first axis of
            an array is the sample.
        targets: what the output is compared with; by default a named column; none for
            ``loss="mean"``.
        target: which column that is, as in `dtrain.train`.
        columns: which columns the inputs are, as in `dtrain.train`.
        separator: what separates the columns of a text file, as in `dtrain.train`.
        missing: ``refuse``, or ``skip``: leave out rows, as in `dtrain.train`.
        loss: the loss, as in `dtrain.train`.
        sample_weight: the weight of each sample: an array, or a named column.
        penalty: a function of the weights that is added to the mean loss.
        dtype: ``float32`` or ``float64``.
        block: samples in a block, the unit of exact sums.
        execution: the execution model: ``sequential``, ``levels`` or ``dataflow``.
        backend: what runs the plan: ``numpy`` or ``fused``.

    Returns:
        The mean loss, and an array of the weight's shape for every weight.

    Raises:
        UsageError, DataError, ProgramError: as `dtrain.train`.

    Example:
        >>> from dtrain import loss_and_gradient, program, weight
        >>> @program
        ... def double(x):
        ...     return weight("W") * x
        >>> loss_and_gradient(double, {"W": 1.0}, [[1.0, 2.0]], [2.0, 4.0])
        (2.5, {'W': array(-5.)})
    """
    check_call("loss_and_gradient", program, weights)
    dtype = check_dtype(dtype)
    if block is not None and (isinstance(block, bool) or not block > 0):
        raise UsageError(f"block is {block!r}; it must be a whole number ≥ 1")
    numerics.check_pins()
    the_loss = losses.named(loss)
    samples = as_samples(
        program,
        inputs,
        targets,
        target=target,
        columns=columns,
        with_target=the_loss.takes_target,
        separator=separator,
        missing=missing,
        categories=categories_of(weights),
        sample_weight=sample_weight,
    )

    def make() -> tuple[Evaluator, Weights]:
        world = SoloWorld()
        problem = Problem(
            world, program, samples, the_loss, dtype=dtype, penalty=penalty
        )
        threads = threads_of(world, execution, None)
        computing = Computing(execution, threads, backend)
        evaluator = Evaluator(problem, world, block=block, computing=computing)
        problem.release()
        return evaluator, Weights(problem.layout)

    # A penalty may be a closure over anything, a program is looked into.
    key = (signature(samples), the_loss, penalty, dtype, block, execution, backend)
    kept = execution == "sequential" and isinstance(penalty, Norms | None)
    evaluator, values = (
        _evaluators.get(program, key, make, lambda made: made[0].problem.stable)
        if kept
        else make()
    )
    problem = evaluator.problem
    check_target_values(problem.quantity, samples, range(len(samples)))
    as_weights(problem.layout, weights, values)
    columns_read = columns_of(samples, problem.quantity.graph, dtype)
    try:
        with blas_threads(1), reading(evaluator.engine, columns_read):
            total = evaluator.sum(values, whole(len(samples)))
    finally:
        if not kept:
            evaluator.close()
    return total.loss, {name: view.copy() for name, view in total.values.items()}


def evaluate(
    program: Program,
    weights: Mapping[str, Any],
    data: Data,
    *,
    target: str | None = None,
    columns: Mapping[str, Spec] | None = None,
    separator: str | None = None,
    missing: str = "refuse",
    loss: str | Loss | None = None,
    sample_weight: str | None = None,
    block: int | None = None,
    backend: str = "numpy",
    world: World | None = None,
) -> dict[str, float]:
    """Measure how well weights fit data: the mean loss and its metrics.

    The sums are exact over all ranks: one result for any number of them. Under
    ``mpirun`` every rank makes the same call.

    Args:
        program: the program.
        weights: values by name, a `Run`, or the path of a weights file; their dtype is
            the one that is computed in.
        data: named columns, first axis the sample: a mapping of arrays or a path.
        target: the column to compare with, as in `dtrain.train`.
        columns: which columns the inputs are, as in `dtrain.train`; by default those
            that the weights' run has read, if the data have them.
        separator: what separates the columns of a text file, as in `dtrain.train`.
        missing: ``refuse``, or ``skip``: leave out rows, as in `dtrain.train`.
        loss: the loss, as in `dtrain.train`; by default that of the weights' run, if
            it is known, else the square.
        sample_weight: the column with the weight of each sample; loss and metrics are
            weighted means.
        block: samples in a block, the unit of exact sums.
        backend: what runs the plan: ``numpy`` or ``fused``.
        world: the ranks; by default those that a launcher started, or one.

    Returns:
        ``samples`` and ``loss``, and ``accuracy`` where targets are classes, or
        ``rmse`` and ``r2`` where they are values (``r2`` only if they vary).

    Raises:
        UsageError, DataError, ProgramError: as `dtrain.train`.

    Example:
        >>> from dtrain import evaluate, program, weight
        >>> @program
        ... def double(x):
        ...     return weight("W") * x
        >>> data = {"x": [1.0, 2.0], "t": [2.0, 4.0]}
        >>> evaluate(double, {"W": 1.5}, data)["loss"]
        0.625
    """
    check_call("evaluate", program, weights)
    numerics.check_pins()
    weights = opened(weights)
    the_loss = chosen_loss(weights, loss)

    def work(rank: World) -> dict[str, float]:
        samples, digest = read_samples(
            rank,
            program,
            data,
            target=target,
            columns=columns or {},
            with_target=the_loss.takes_target,
            separator=separator,
            missing=missing,
            categories=categories_of(weights),
            sample_weight=sample_weight,
            usual=usual_columns(weights),
        )
        check_known(samples, categories_of(weights))
        return measure(
            rank, program, samples, weights, the_loss, digest, block, backend
        )

    with blas_threads(1):
        return (world or open_world()).run(work)


@np.errstate(all="ignore")  # a loss may be infinite
def measure(
    world: World,
    program: Program,
    samples: Samples,
    weights: Any,
    loss: Loss,
    digest: str = "",
    block: int | None = None,
    backend: str = "numpy",
) -> dict[str, float]:
    """Do the same as `evaluate`, for samples that all ranks have read; collective."""
    world.position.phase = "evaluating"
    source, weights = weights, named_weights(weights)
    problem = Problem(
        world,
        program,
        samples,
        loss,
        dtype=dtype_of(weights),
        gradient=False,
        metrics=True,
        data_digest=digest,
    )
    if world.rank == 0:
        check_same_program(problem.graph, source)
    values = problem.start(world, 0, weights)
    computing = Computing(backend=backend)
    evaluator = Evaluator(problem, world, block=block, computing=computing)
    evaluator.sum(values, whole(len(samples)))
    return evaluator.metrics()


def predict(
    program: Program,
    weights: Mapping[str, Any],
    inputs: Inputs,
    *,
    columns: Mapping[str, Spec] | None = None,
    separator: str | None = None,
) -> Any:
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
        several named outputs. For an output with a row for each row of a ragged input,
        a list of arrays, without the rows of padding.

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
        lambda outputs: outputs.stable,
    )
    check_same_program(made.traced, source)
    as_weights(made.weights.layout, weights, made.weights)
    with blas_threads(1), made.reading(samples):
        outputs = made.rows(0, len(samples))
    listed = {
        name: [values[i].copy() for i in range(len(values))]
        if isinstance(values, Ragged)
        else values
        for name, values in outputs.items()
    }
    return listed if len(listed) > 1 else next(iter(listed.values()))
