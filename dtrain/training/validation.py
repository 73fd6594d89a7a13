"""Validation: the loss and metrics of held-out samples after an epoch, and the best.

A `Validator` measures; a `Record` is the part of a run's state that keeps the results.
Every rank has the same results, so every rank decides alike whether to stop.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.columns import Samples
from dtrain.data.order import split
from dtrain.data.readers import is_text_file
from dtrain.errors import DataError
from dtrain.gradient.vector import Weights
from dtrain.problem.agreement import together
from dtrain.problem.evaluator import Computing, Evaluator, whole
from dtrain.problem.problem import Problem, read_samples
from dtrain.tracing.trace import Program
from dtrain.training.settings import Settings
from dtrain.training.values import Validation
from dtrain.worlds.world import World

LOG = logging.getLogger("dtrain")


class Record:
    """The validations of a run: results by epoch, and the best one.

    Args:
        names: the names of the results of a validation; the first is ``loss``.
        epochs: how many epochs the run has.
        weights: the weights of the run.
        validation: the options.

    Attributes:
        names: as given.
        results: (epochs, names) float64; NaN where an epoch was not validated, or a
            metric has no value; a loss that is not finite is an infinity.
        counts: (3,) int64: the last epoch that was validated, the best one, and the
            validations since then; epochs count from 1.
        best: (W,), the weights of the best validation; empty if they are not kept.
        arrays: these arrays, by name, for a checkpoint.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        epochs: int,
        weights: Weights,
        validation: Validation,
    ) -> None:
        self.names = names
        keep = bool(validation.restore_best)
        self.results = np.full((epochs, len(names)), np.nan)
        self.counts = np.zeros(3, np.int64)
        self.best = weights.flat.copy() if keep else weights.flat[:0].copy()
        self._weights, self._validation = weights, validation
        self.arrays: dict[str, NDArray[Any]] = {
            "validation.results": self.results,
            "validation.counts": self.counts,
            "validation.best": self.best,
        }

    @property
    def epoch(self) -> int:
        """The last epoch that was validated; 0 if none was."""
        return int(self.counts[0])

    @property
    def best_epoch(self) -> int:
        """The epoch of the best validation; 0 if there is none."""
        return int(self.counts[1])

    @property
    def stale(self) -> int:
        """The number of validations since the best one."""
        return int(self.counts[2])

    @property
    def stops(self) -> bool:
        """Whether the run has waited long enough for an improvement."""
        patience = self._validation.patience
        return patience is not None and self.stale >= patience

    @property
    def result(self) -> float | None:
        """The loss that the run results in: of the best validation if its weights are.

        Otherwise that of the last one; ``None`` if there is none.
        """
        return self.at(self.best_epoch)["loss"] if self.restores else self.last

    @property
    def last(self) -> float | None:
        """The loss of the last validation; ``None`` if there is none."""
        return self.at(self.epoch)["loss"] if self.epoch else None

    def at(self, epoch: int) -> dict[str, float | None]:
        """Return the results of an epoch by name; ``None`` for one without a value."""
        values = self.results[epoch - 1].tolist()
        return {
            name: value if math.isfinite(value) else None
            for name, value in zip(self.names, values, strict=True)
        }

    def add(self, epoch: int, found: Mapping[str, float]) -> None:
        """Record the results of an epoch, and its weights if they are the best."""
        row = [found.get(name, math.nan) for name in self.names]
        row[0] = row[0] if math.isfinite(row[0]) else math.inf
        lowest = self.results[self.best_epoch - 1, 0] if self.best_epoch else math.inf
        self.results[epoch - 1] = row
        self.counts[0] = epoch
        if row[0] < lowest - self._validation.min_delta:
            self.counts[1:] = epoch, 0
            if self.best.size:
                np.copyto(self.best, self._weights.flat)
        else:
            self.counts[2] += 1

    @property
    def restores(self) -> bool:
        """Whether the result of the run is the best weights, and not the last ones."""
        kept = bool(self.best.size and self.best_epoch)
        return kept and not np.array_equal(self.best, self._weights.flat)

    def clear(self) -> None:
        """Forget all validations."""
        self.results[:] = np.nan
        self.counts[:] = 0

    def history(self) -> list[dict[str, Any]]:
        """Return the results of every epoch that was validated, in order."""
        epochs = np.flatnonzero(~np.isnan(self.results[:, 0])) + 1
        return [{"epoch": epoch, **self.at(epoch)} for epoch in epochs.tolist()]


class Validator:
    """Measures the weights of a run on held-out samples; all ranks do it together.

    Args:
        world: the ranks; collective.
        program: the program.
        samples: the held-out samples, the same on every rank.
        settings: the options of the run.
        computing: how this rank computes.
        digest: of the data set that the samples are, or are a part of.

    Attributes:
        samples: how many there are.
        names: the names of the results.
        identity: what identifies the samples in a checkpoint.
    """

    def __init__(
        self,
        world: World,
        program: Program,
        samples: Samples,
        settings: Settings,
        computing: Computing,
        digest: str,
    ) -> None:
        problem = Problem(
            world,
            program,
            samples,
            settings.the_loss,
            dtype=settings.dtype,
            gradient=False,
            metrics=True,
        )
        self.samples = len(samples)
        metric = problem.metric
        self.names = ("loss", *(metric.names if metric else ()))
        share = settings.validation.share
        self.identity = digest if share is None else f"{share:g} of the rows"
        self._weights = Weights(problem.layout)
        self._evaluator = Evaluator(
            problem, world, block=settings.block, computing=computing
        )
        self._epochs = settings.epochs
        self._validation = settings.validation
        self._told = False

    def record(self, weights: Weights) -> Record:
        """Return the empty record of a run."""
        return Record(self.names, self._epochs, weights, self._validation)

    def enter(self, world: World) -> None:
        """Work in this world from now on: a smaller one, after ranks were lost."""
        self._evaluator.enter(world)

    def close(self) -> None:
        """End the threads that run steps at once."""
        self._evaluator.close()

    @np.errstate(all="ignore")  # a loss may be infinite
    def measure(self, weights: Weights, epoch: int) -> dict[str, float]:
        """Return the mean loss and the metrics of the samples; collective."""
        evaluator = self._evaluator
        self._weights.assign(weights.values)
        evaluator.sum(self._weights, whole(self.samples))
        found = evaluator.metrics()
        finite = math.isfinite(found["loss"])
        if not finite and not self._told and evaluator.world.rank == 0:
            self._told = True
            LOG.warning(
                "the validation loss after epoch %d is %s: it counts as no improvement",
                epoch,
                found["loss"],
            )
        return found


def held_out(
    world: World,
    program: Program,
    samples: Samples,
    settings: Settings,
    digest: str,
) -> tuple[Samples, Samples | None, str]:
    """Return the samples to train on, those to validate on, and the latter's digest.

    Collective. Without validation there are none to validate on.

    Raises:
        DataError, ProgramError, MismatchError: on every rank.
    """
    validation: Validation | None = settings.validation
    if validation is None:
        return samples, None, ""
    if validation.share is not None:
        with together(world):
            kept, apart = split(len(samples), validation.share, settings.seed)
            parts = samples.take(kept), samples.take(apart)
        return *parts, digest
    other, digest = read_samples(
        world,
        program,
        validation.data,
        target=settings.target,
        columns=settings.columns or {},
        with_target=settings.the_loss.takes_target,
        separator=settings.separator if is_text_file(validation.data) else None,
        missing=settings.missing,
        categories=samples.categories,
        sample_weight=settings.sample_weight,
    )
    with together(world):
        check_same_shapes(samples, other)
    return samples, other, digest


def check_same_shapes(samples: Samples, other: Samples) -> None:
    """Check that held-out samples have the shapes of those that are trained on.

    Raises:
        DataError: naming the input.
    """
    pairs = [
        (f"input {name!r}", samples.inputs[name], array)
        for name, array in other.inputs.items()
    ]
    if samples.target is not None and other.target is not None:
        pairs.append(("the target", samples.target, other.target))
    for name, ours, theirs in pairs:
        if ours.shape[1:] != theirs.shape[1:]:
            raise DataError(
                f"{other.source}: {name} has samples of shape {theirs.shape[1:]}; in "
                f"{samples.source} it is {ours.shape[1:]}"
            )
