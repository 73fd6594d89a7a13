"""A Problem: a program, its loss and its data, bound together on all ranks."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dtrain.data.binding import Spec, resolve
from dtrain.data.checks import Column
from dtrain.data.columns import Samples
from dtrain.data.ragged import Ragged
from dtrain.data.readers import open_data
from dtrain.descent.loss_graph import LossGraph, loss_graph
from dtrain.descent.losses import Loss
from dtrain.descent.metrics import Metric
from dtrain.descent.penalties import Penalty, of_weights
from dtrain.errors import DataError, ProgramError, UsageError
from dtrain.gradient.vector import Weights
from dtrain.problem.agreement import compare_programs, together
from dtrain.problem.columns import (
    check_target,
    check_target_values,
    columns_of,
    nan_aware,
)
from dtrain.problem.differences import compare_arrays, compare_data
from dtrain.problem.padding import Padding, Sizes, check_same_weights
from dtrain.problem.patterns import matching
from dtrain.problem.samples import Data, check_program, named_weights
from dtrain.reduction.blocks import share
from dtrain.tracing.bounds import check_given
from dtrain.tracing.fingerprint import fingerprint
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.trace import Program
from dtrain.tracing.weights import draw
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
        loss: the loss.
        dtype: of weights and columns: ``float32`` or ``float64``.
        gradient: whether derivatives by the weights are wanted as well.
        metrics: whether the sums that the loss's metric is made of are wanted.
        penalty: a function of the weights, added once to the mean loss.
        frozen: patterns of names of weights, such as ``encoder.*``, that are not
            differentiated by.
        data_digest: SHA-256 of the columns that are read; empty for arrays in memory.

    Attributes:
        padding: which columns are ragged, and the lengths that they are padded to.
        graph: the program's graph, as it was traced; with ragged columns, for the
            standard lengths.
        quantity: the program with its loss: the graph that is summed over samples; with
            ragged columns, for the standard lengths.
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
        loss: Loss,
        *,
        dtype: str,
        gradient: bool = True,
        metrics: bool = False,
        penalty: Penalty | None = None,
        frozen: Sequence[str] = (),
        data_digest: str = "",
    ) -> None:
        self.program, self.samples, self.loss = program, samples, loss
        self.dtype, self._data_digest = dtype, data_digest
        self._released = False
        world.position.phase = "tracing the program"
        with together(world):
            self.padding = Padding.of(samples)
            self._joined: dict[Sizes, LossGraph] = {}
            self.metric = None
            if metrics and samples.target is not None and loss.takes_target:
                self.metric = _metric(loss, samples.target)
            self.graph = self.traced(self.padding.standard)
            names = matching(frozen, self.graph, "frozen")
            if frozen and not set(self.graph.weights) - names:
                raise UsageError(f"frozen: all weights of {program.name} are frozen")
            self._gradient, self._frozen = gradient, names
            self._weighted = samples.weight is not None
            self.quantity = self.joined(self.padding.standard)
            self.layout = self.quantity.layout(dtype)
            self.penalty = None if penalty is None else of_weights(penalty, self.graph)
        compare_programs(world, self.graph)
        compare_programs(world, self.quantity.graph, "program with its loss")
        self._compare_sizes(world)
        world.compare("layout of the weights", self.layout.describe())
        if self.penalty is not None:
            compare_programs(world, self.penalty.graph, "penalty")
        world.position.phase = "checking the data"
        with together(world):
            rows = share(len(samples), world.rank, world.size)
            check_target_values(self.quantity, samples, rows)
            self.columns = columns_of(samples, self.quantity.graph, dtype)

    def traced(self, sizes: Sizes) -> FlowGraph:
        """Return the program's graph for the lengths that columns are padded to.

        Raises:
            ProgramError: its weights are others than those for the standard lengths.
        """
        graph = self.program.trace(**self.padding.shapes(sizes))
        if sizes != self.padding.standard:
            check_same_weights(self.graph, graph, self.padding)
        return graph

    @property
    def stable(self) -> bool:
        """Whether tracing the program again gives the same graph."""
        again = self.traced(self.padding.standard)
        return fingerprint(again) == fingerprint(self.graph)

    def joined(self, sizes: Sizes) -> LossGraph:
        """Return the program with its loss, for lengths that columns are padded to.

        Raises:
            ProgramError, DataError: the weights depend on the lengths, or the target
                does not fit the output.
        """
        if sizes not in self._joined:
            given = self.padding.target_shape(sizes)
            first = sizes == self.padding.standard
            joined = loss_graph(
                self.graph if first else self.traced(sizes),
                self.loss,
                given,
                gradient=self._gradient,
                metric=self.metric,
                weighted=self._weighted,
                frozen=self._frozen,
                rows=self.padding.rows,
            )
            if not self._released:
                check_target(joined, self.samples, given)
            self._joined[sizes] = joined
        return self._joined[sizes]

    def _compare_sizes(self, world: World) -> None:
        """Compare the program of all ranks for the lengths of each sample; collective.

        A block of samples may have other lengths only where several columns have
        independent ones.
        """
        if not self.padding:
            return
        with together(world):
            first = tuple(size + 1 for size in self.padding.standard)
            self.traced(first)  # so that weights that depend on it are always found
            sizes = self.padding.sizes(self.samples)
            total = hashlib.sha256()
            for each in sizes:
                total.update(fingerprint(self.joined(each).graph).encode())
        world.compare("program for the lengths of the samples", total.hexdigest())

    def start(
        self, world: World, seed: int, weights: Mapping[str, Any] | None = None
    ) -> Weights:
        """Return the first weights, the same bits on every rank; collective.

        Args:
            world: the ranks.
            seed: of the initialisers' draws.
            weights: values by name instead of drawn ones.

        Raises:
            UsageError: the values do not fit, or are outside the weights' bounds;
            MismatchError: ranks were given others.
        """
        with together(world):
            first = Weights(self.layout)
            if weights is None:
                first.assign(draw(self.graph, seed, self.dtype))
            else:
                values = named_weights(weights)
                first.assign(values)
                check_given(self.graph.specs, values)
                first.project()  # a bound may have been rounded
            given = "drawn" if weights is None else first.digest
        compare_arrays(world, "first weights", given, first.values, "weight")
        world.broadcast(first.flat)  # hosts with another libm draw other values
        return first

    def release(self) -> None:
        """Forget the samples; an evaluator that was made can read others."""
        self.samples = replace(
            self.samples, inputs={}, target=None, weight=None, line_of=None
        )
        self.columns = {}
        self._released = True

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


def _metric(loss: Loss, target: Column) -> Metric | None:
    """Return the loss's metric; that of a ragged target is about its rows."""
    if not isinstance(target, Ragged):
        return loss.metric(target)
    metric = loss.metric(target.values)
    return None if metric is None else metric.of_rows()


def read_samples(
    world: World,
    program: Program,
    data: Data,
    *,
    target: str | None,
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
        found = binding.read(missing, categories)
    digest = compare_data(world, found.columns)
    with together(world):
        samples = binding.samples(found, categories)
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
        program, graph = problem.program, problem.graph
        if not graph.weights:
            raise ProgramError(f"program {program.name} has no weights to train")
        if not problem.stable:
            raise ProgramError(
                f"program {program.name} changes each time it is traced: it uses "
                "random numbers, the time, or something else that varies, and such "
                "values would be frozen as constants; pass them in as inputs"
            )
