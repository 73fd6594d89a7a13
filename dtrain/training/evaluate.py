"""Programs on arrays: loss and gradient, predictions, and exact metrics over ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from dtrain.data.columns import Samples, as_array
from dtrain.data.order import Batch
from dtrain.descent import losses
from dtrain.descent.loss_graph import loss_graph
from dtrain.descent.losses import Loss
from dtrain.descent.penalties import Penalty
from dtrain.engine.engine import Engine
from dtrain.errors import DataError
from dtrain.gradient.vector import GradientVector, Layout, Weights
from dtrain.host import pinning
from dtrain.reduction.blocks import share
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.trace import Program
from dtrain.tracing.weights import check_dtype
from dtrain.training.penalty import Penalised
from dtrain.training.settings import check_whole
from dtrain.training.setup import (
    check_program,
    check_target,
    check_values,
    columns_in,
    compare_programs,
    threads_of,
    together,
)
from dtrain.training.shard import Shard, default_block
from dtrain.worlds.world import SoloWorld, World

Inputs = Mapping[str, Any] | Sequence[Any] | NDArray[Any]


def loss_and_gradient(
    program: Program,
    weights: Mapping[str, Any],
    inputs: Inputs,
    targets: Any = None,
    *,
    loss: str | Loss = "square",
    penalty: Penalty | None = None,
    dtype: str = "float64",
    block: int | None = None,
    execution: str = "sequential",
    backend: str = "numpy",
) -> tuple[float, dict[str, NDArray[Any]]]:
    """The mean loss over samples, and its derivative by every weight.

    Args:
        program: the program.
        weights: a value for each weight, by name.
        inputs: arrays whose first axis is the sample: a mapping by input name, a
            sequence in the program's order, or one array for a program of one input.
        targets: what the output is compared with; none for ``loss="mean"``.
        loss: the loss, as in `dtrain.train`.
        penalty: added to the mean loss, as in `dtrain.train`.
        dtype: in which it is computed.
        block: samples in a block, as in `dtrain.train`.
        execution: the execution model: ``sequential``, ``levels`` or ``dataflow``.
        backend: what runs the plan.

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
    check_dtype(dtype)
    if block is not None:
        check_whole("block", block, 1)
    pinning.check()
    samples = as_samples(program, inputs, targets)
    graph = traced(program, samples)
    joined = loss_graph(graph, losses.named(loss), samples.target_shape)
    check_target(joined, samples)
    check_values(joined, samples, range(len(samples)))
    values = as_weights(joined.layout(dtype), weights)
    engine = Engine(
        joined.graph,
        joined.layout(dtype),
        columns_in(samples, joined.graph, dtype),
        gradients=joined.gradients,
        execution=execution,
        threads=threads_of(SoloWorld(), execution, None),
        backend=backend,
    )
    vector = GradientVector(joined.layout(dtype))
    size = default_block(joined.graph, len(samples)) if block is None else block
    with threadpool_limits(1), engine:  # more BLAS threads may give other bits
        summed(SoloWorld(), engine, values, vector, whole(samples), size)
    vector.scale(joined.loss.scale(vector.samples))
    if penalty is not None:
        Penalised(penalty, graph, values, backend).add(vector)
    return vector.loss, {name: view.copy() for name, view in vector.values.items()}


@dataclass(frozen=True)
class Evaluation:
    """How well weights fit samples.

    Attributes:
        samples: how many there are.
        loss: the mean loss.
        accuracy: the share of right classes, if targets are classes.
        rmse: the root of the mean squared error, if targets are values.
        r2: R² of values, unless they are all the same.
    """

    samples: int
    loss: float
    accuracy: float | None = None
    rmse: float | None = None
    r2: float | None = None


def evaluate(
    world: World,
    program: Program,
    samples: Samples,
    weights: Mapping[str, Any],
    loss: Loss,
) -> Evaluation:
    """The mean loss and the metrics of weights, exact over all ranks; collective."""
    world.place.phase = "evaluating"
    with together(world):
        dtype = dtype_of(weights)
        target = samples.target if loss.takes_target else None
        metric = None if target is None else loss.metric(target)
        joined = loss_graph(
            traced(program, samples),
            loss,
            samples.target_shape,
            gradient=False,
            metric=metric,
        )
        check_target(joined, samples)
        check_values(joined, samples, share(len(samples), world.rank, world.size))
        layout = joined.layout(dtype)
        values = as_weights(layout, weights)
        columns = columns_in(samples, joined.graph, dtype)
        engine = Engine(joined.graph, layout, columns, tail=joined.sums)
    compare_programs(world, joined.program)
    world.compare("program with its loss", joined.graph.fingerprint)
    world.compare("weights", values.digest)
    vector = GradientVector(layout)
    block = default_block(joined.graph, len(samples))
    summed(world, engine, values, vector, whole(samples), block)
    found = metric.values(vector.metrics, vector.samples) if metric else {}
    return Evaluation(vector.samples, vector.loss, **found)


@np.errstate(all="ignore")  # a loss may be infinite, and is reported so
def summed(
    world: World,
    engine: Engine,
    weights: Weights,
    vector: GradientVector,
    batch: Batch,
    block: int,
) -> None:
    """Sum an engine's vectors over all blocks of a batch and all ranks."""
    shard = Shard.of(world, engine, block)
    partials = engine.gradients(weights, shard.blocks(batch))
    world.tree_sum(shard.count(batch), partials, vector)


def whole(samples: Samples) -> Batch:
    """All samples, in their order."""
    return Batch(0, slice(0, len(samples)), len(samples))


def as_samples(program: Program, inputs: Inputs, targets: Any) -> Samples:
    """Arrays given by a caller, as samples.

    Raises:
        DataError: if they are not what the program takes, or of different lengths.
    """
    check_program(program)
    names = program.inputs
    if not names and targets is None:
        raise DataError(
            f"program {program.name} has no inputs, so there are no samples"
        )
    if isinstance(inputs, Mapping):
        given = dict(inputs)
    elif isinstance(inputs, np.ndarray):
        given = dict(zip(names, [inputs], strict=False))
    else:
        given = dict(zip(names, inputs, strict=False))
        if len(inputs) != len(names):
            raise DataError(
                f"program {program.name} takes {len(names)} inputs "
                f"({', '.join(names)}), not {len(inputs)}"
            )
    missing = [name for name in names if name not in given]
    unknown = [name for name in given if name not in names]
    if missing or unknown:
        raise DataError(
            f"program {program.name} takes the inputs {', '.join(names)}; "
            + (f"{', '.join(missing)} is missing" if missing else "")
            + (f"{', '.join(unknown)} is unknown" if unknown and not missing else "")
        )
    arrays = {name: as_array(name, given[name]) for name in names}
    target = None if targets is None else as_array("targets", targets)
    everything = {**arrays, **({} if target is None else {"targets": target})}
    lengths = {}
    for name, array in everything.items():
        if array.ndim == 0 or array.dtype.kind not in "biuf":
            raise DataError(
                f"{name} must be an array of numbers, first axis the sample"
            )
        lengths[name] = len(array)
    if len(set(lengths.values())) > 1:
        raise DataError(f"different numbers of samples: {lengths}")
    if not all(lengths.values()):
        raise DataError("there are no samples")
    origins = tuple((name,) for name in everything)
    return Samples(arrays, target, "the arrays given", origins)


def traced(program: Program, samples: Samples) -> FlowGraph:
    """Trace a program for the shapes of samples."""
    return program.trace(
        **{name: column.shape[1:] for name, column in samples.inputs.items()}
    )


def as_weights(layout: Layout, values: Mapping[str, Any]) -> Weights:
    """Values by name, as weights.

    Raises:
        UsageError: if a name or a shape does not fit.
    """
    weights = Weights(layout)
    weights.assign(values)
    return weights


def dtype_of(weights: Mapping[str, Any]) -> str:
    """The dtype that weights were trained in."""
    dtypes = {np.asarray(value).dtype.name for value in weights.values()}
    return "float32" if dtypes == {"float32"} else "float64"
