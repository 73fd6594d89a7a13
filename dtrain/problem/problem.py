"""A Problem: a program, its loss and its data, bound together on all ranks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from dtrain.data.binding import Spec, Targets, resolve
from dtrain.data.columns import Samples
from dtrain.data.readers import open_data
from dtrain.descent.loss_graph import WEIGHT, loss_graph
from dtrain.descent.losses import Loss
from dtrain.descent.penalties import Penalty, of_weights
from dtrain.descent.several import Several, metric_of
from dtrain.errors import DataError, ProgramError, UsageError
from dtrain.gradient.vector import Weights
from dtrain.problem.agreement import compare_programs, together
from dtrain.problem.columns import (
    check_target_values,
    check_targets,
    columns_of,
    nan_aware,
)
from dtrain.problem.first import first_weights
from dtrain.problem.patterns import matching
from dtrain.problem.reading import read_columns
from dtrain.problem.samples import Data, check_program
from dtrain.reduction.blocks import share
from dtrain.reduction.segment import NotSharedError
from dtrain.tracing.fingerprint import fingerprint
from dtrain.tracing.noise import quiet
from dtrain.tracing.trace import Program
from dtrain.worlds.host_memory import HostMemory
from dtrain.worlds.world import World

LOG = logging.getLogger("dtrain")


class Problem:
    """What is minimised: a program with its loss, on the samples that it is fitted to.

    Making one is collective. Every rank traces the program, joins it with the loss and
    checks its share of the samples; the ranks then compare what must be equal.

    Args:
        world: the ranks.
        program: the program.
        samples: all samples, the same on every rank.
        loss: the loss, or those of several outputs.
        dtype: of weights and columns: ``float32`` or ``float64``.
        gradient: whether derivatives by the weights are wanted as well.
        metrics: whether the sums that the loss's metric is made of are wanted.
        penalty: a function of the weights, added once to the mean loss.
        frozen: patterns of names of weights, such as ``encoder.*``, that are not
            differentiated by.
        noise: whether random numbers of the program are drawn; else they are means.
        data_digest: SHA-256 of the columns that are read; empty for arrays in memory.

    Attributes:
        traced: the program's graph, as it was traced.
        graph: the same, without random numbers unless there is noise.
        quantity: the program with its loss: the graph that is summed over samples.
        penalty: the penalty with its derivatives, as a graph of the weights alone.
        metric: what is made of the metric's sums; ``None`` without metrics.
        layout: where each weight lies in a flat vector.
        columns: the columns that the graph reads, by input.

    Raises:
        ProgramError, DataError, MismatchError: on every rank.
    """

    def __init__(
        self,
        world: World,
        program: Program,
        samples: Samples,
        loss: Loss | Several,
        *,
        dtype: str,
        gradient: bool = True,
        metrics: bool = False,
        penalty: Penalty | None = None,
        frozen: Sequence[str] = (),
        data_digest: str = "",
        noise: bool = False,
    ) -> None:
        self.program, self.samples, self.loss = program, samples, loss
        self.dtype, self._data_digest = dtype, data_digest
        world.position.phase = "tracing the program"
        with together(world):
            shapes = {name: array.shape[1:] for name, array in samples.inputs.items()}
            self.traced = program.trace(**shapes)
            self.graph = self.traced if noise else quiet(self.traced)
            self.metric = metric_of(loss, samples.targets) if metrics else None
            names = matching(frozen, self.graph, "frozen")
            if frozen and not set(self.graph.weights) - names:
                raise UsageError(f"frozen: all weights of {program.name} are frozen")
            specs = self.graph.specs.values()
            names |= {spec.name for spec in specs if not spec.trainable}
            self.quantity = loss_graph(
                self.graph,
                loss,
                samples.target_shapes,
                gradient=gradient,
                metric=self.metric,
                weighted=samples.weight is not None,
                frozen=names,
            )
            check_targets(self.quantity, samples)
            self.layout = self.quantity.layout(dtype)
            self.penalty = None if penalty is None else of_weights(penalty, self.graph)
        compare_programs(world, self.graph)
        compare_programs(world, self.quantity.graph, "program with its loss")
        world.compare("layout of the weights", self.layout.describe())
        if self.penalty is not None:
            compare_programs(world, self.penalty.graph, "penalty")
        world.position.phase = "checking the data"
        with together(world):
            rows = share(len(samples), world.rank, world.size)
            check_target_values(self.quantity, samples, rows)
        self.columns = self._converted(world)
        self.samples = replace(
            samples,
            inputs={name: self.columns[name] for name in samples.inputs},
            targets={
                name: self.columns.get(name, target)
                for name, target in samples.targets.items()
            },
            weight=self.columns.get(WEIGHT, samples.weight),
        )

    def _converted(self, world: World) -> dict[str, NDArray[Any]]:
        """Return the columns in the dtypes that are computed with; collective.

        The ranks of a host share them if they share the columns that were read.
        """
        samples, graph, dtype = self.samples, self.quantity.graph, self.dtype
        if samples.shared:
            with HostMemory(world) as memory, suppress(NotSharedError):
                columns = None
                with together(world):
                    if memory.leads:
                        columns = columns_of(samples, graph, dtype, memory.allocate)
                return memory.share(columns)
        with together(world):
            return columns_of(samples, graph, dtype)

    def start(
        self, world: World, seed: int, weights: Mapping[str, Any] | None = None
    ) -> Weights:
        """Return the first weights, the same bits on every rank; collective.

        Args:
            world: the ranks.
            seed: of the initialisers' draws.
            weights: values by name instead of drawn ones, for all weights or some.

        Raises:
            UsageError: the values do not fit, or are outside the weights' bounds;
            MismatchError: ranks were given others.
        """
        return first_weights(world, self.graph, self.layout, seed, weights)

    def release(self) -> None:
        """Forget the samples; an evaluator that was made can read others."""
        self.samples = replace(
            self.samples, inputs={}, targets={}, weight=None, line_of=None
        )
        self.columns = {}

    @property
    def unfitted(self) -> list[str]:
        """The program's outputs that are not part of the loss."""
        if not isinstance(self.loss, Several):
            return []
        fitted = {term.output for term in self.loss.terms}
        return [name for name in self.graph.outputs if name not in fitted]

    @property
    def identity(self) -> dict[str, str]:
        """What identifies the problem in a checkpoint: equal texts, equal problem."""
        penalty = "none" if self.penalty is None else fingerprint(self.penalty.graph)
        return {
            "columns": repr(list(self.samples.origins)),
            "categories": repr(sorted(self.samples.categories.items())),
            "data set": self._data_digest,
            "program": fingerprint(self.quantity.graph),
            "penalty's graph": penalty,
        }


def read_samples(
    world: World,
    program: Program,
    data: Data,
    *,
    target: Targets | None,
    columns: Mapping[str, Spec],
    with_target: bool,
    separator: str | None = None,
    missing: str = "refuse",
    categories: Mapping[str, Sequence[str]] | None = None,
    sample_weight: str | None = None,
    usual: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Samples, str]:
    """Read the columns that a program needs, and bind them to its inputs; collective.

    Returns the samples, and a digest of the columns that were read. Each rank checks
    that no value of its share of the rows is infinite or missing.

    Args:
        world: the ranks.
        program: the program.
        data: the data set, or its path.
        target: as in `resolve`.
        columns: as in `resolve`.
        with_target: as in `resolve`.
        separator: as in `open_data`.
        missing: as in `Binding.read`.
        categories: the texts that are known, as in `Samples`.
        sample_weight: as in `resolve`.
        usual: as in `resolve`.

    Raises:
        DataError, ProgramError, MismatchError: on every rank.
    """
    world.position.phase = "reading the data"
    with together(world):
        check_program(program)
        dataset = open_data(data, separator)
        binding = resolve(
            dataset,
            program.inputs,
            target,
            columns,
            with_target=with_target,
            sample_weight=sample_weight,
            usual=usual,
        )
    found, digest, shared = read_columns(world, binding, missing, categories)
    with together(world):
        samples = replace(binding.samples(found, categories), shared=shared)
        rows = share(len(samples), world.rank, world.size)
        check_finite(program, samples, rows)
        samples.check_weight(rows.start, rows.stop)
    if samples.left_out and world.rank == 0:
        LOG.info(
            "%s: %d of %d rows have a missing value and are left out",
            samples.source,
            samples.left_out,
            samples.left_out + len(samples),
        )
    return samples, digest


def check_finite(program: Program, samples: Samples, rows: range) -> None:
    """Check that no value of some rows is infinite, or NaN where it is not handled.

    Raises:
        DataError: naming the first row.
    """
    try:
        samples.check_finite(rows.start, rows.stop)
    except DataError:
        shapes = {name: array.shape[1:] for name, array in samples.inputs.items()}
        handled = nan_aware(program.trace(**shapes))
        if not handled:
            raise
        samples.check_finite(rows.start, rows.stop, handled)


def check_trainable(world: World, problem: Problem) -> None:
    """Check that a program has weights, and is the same whenever it is traced.

    Raises:
        ProgramError: on every rank.
    """
    with together(world):
        program, graph = problem.program, problem.traced
        if not any(spec.trainable for spec in graph.specs.values()):
            raise ProgramError(f"program {program.name} has no weights to train")
        shapes = {name: graph.nodes[i].shape for name, i in graph.inputs.items()}
        if fingerprint(program.trace(**shapes)) != fingerprint(graph):
            raise ProgramError(
                f"program {program.name} changes each time it is traced: it uses "
                "random numbers, the time, or something else that varies, and such "
                "values would be frozen as constants; use dtrain.noise for random "
                "numbers that are new in every step, and pass others in as inputs"
            )
