"""Programs on data: loss, gradient and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.binding import Spec, Targets
from dtrain.data.columns import Samples
from dtrain.descent.losses import Loss
from dtrain.descent.penalties import Norms, Penalty
from dtrain.descent.several import Losses, Several, fitted, named_targets
from dtrain.errors import UsageError
from dtrain.gradient.vector import Weights
from dtrain.host import numerics
from dtrain.host.blas import blas_threads
from dtrain.problem.agreement import together
from dtrain.problem.columns import check_target_values, columns_of
from dtrain.problem.evaluator import Computing, Evaluator, reading, threads_of, whole
from dtrain.problem.problem import Problem, read_samples
from dtrain.problem.remembered import (
    categories_of,
    check_known,
    check_same_program,
    chosen_fit,
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


@np.errstate(all="ignore")  # a loss may be infinite
def loss_and_gradient(
    program: Program,
    weights: Mapping[str, Any],
    inputs: Inputs,
    targets: Any = None,
    *,
    target: Targets | None = None,
    columns: Mapping[str, Spec] | None = None,
    separator: str | None = None,
    missing: str = "refuse",
    loss: Losses = "square",
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
        targets: what the output is compared with, or a mapping of outputs to what they
            are compared with; by default named columns; none for ``loss="mean"``.
        target: which columns these are, as in `dtrain.train`.
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
    the_loss, wanted = fitted(loss, named_targets(targets, target))
    samples = as_samples(
        program,
        inputs,
        targets,
        target=wanted,
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
        _evaluators.get(program, key, make, lambda made: made[0].problem.traced)
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
    target: Targets | None = None,
    columns: Mapping[str, Spec] | None = None,
    separator: str | None = None,
    missing: str = "refuse",
    loss: Losses | None = None,
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
        ``rmse`` and ``r2`` where they are values (``r2`` only if they vary). For
        several outputs ``loss`` is the total, and the others are ``OUTPUT.accuracy``
        and so on, with ``OUTPUT.loss``, the mean loss before its factor.

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
    the_loss, wanted = chosen_fit(weights, loss, target)

    def work(rank: World) -> dict[str, float]:
        samples, digest = read_samples(
            rank,
            program,
            data,
            target=wanted,
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
    loss: Loss | Several,
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
    with together(world):
        as_weights(problem.layout, weights)  # all have values: none is drawn
    values = problem.start(world, 0, weights)
    computing = Computing(backend=backend)
    evaluator = Evaluator(problem, world, block=block, computing=computing)
    evaluator.sum(values, whole(len(samples)))
    return evaluator.metrics()
