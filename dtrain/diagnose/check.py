"""Checking a gradient: along a random direction, against differences of the loss.

For each weight W and a random direction u, back-propagation's ⟨∂Loss/∂W, u⟩ is held
against (Loss(W + hu) − Loss(W − hu)) / 2h, extrapolated from h and h/2 (Richardson), in
float64. A difference that straddles a kink, such as relu's at 0, proves nothing: a
smaller h is tried, and if all straddle one, the kink is named.

Where there are few paths from a weight to the output, the derivative of the first
sample's loss is also held against the sum over them, the lecture's definition.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.binding import Spec
from dtrain.data.columns import Samples
from dtrain.data.order import Batch
from dtrain.data.readers import is_named
from dtrain.descent import losses
from dtrain.descent.loss_graph import loss_graph
from dtrain.descent.losses import Loss
from dtrain.descent.penalties import Penalty
from dtrain.diagnose.definition import Definition
from dtrain.diagnose.kinks import Kinks
from dtrain.errors import DataError
from dtrain.gradient.vector import Weights
from dtrain.host import numerics
from dtrain.problem.evaluator import Evaluator, whole
from dtrain.problem.padding import Padding
from dtrain.problem.problem import Problem
from dtrain.problem.remembered import categories_of
from dtrain.problem.samples import Inputs, as_samples, check_call
from dtrain.problem.shard import RowBlocks
from dtrain.tracing.printing import counted
from dtrain.tracing.trace import Program
from dtrain.worlds.local import SoloWorld

TOLERANCE = 1e-6
"""The largest relative error that passes; a wrong factor of 1.0005 is 500 times it."""
STEPS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
"""The steps h that are tried, in units of the weight's largest entry or 1.

At the last one only what lies on a kink still straddles it, however wide the program.
"""
_NOISE = 1e-10  # what rounding of the loss may do to a difference, per unit of loss
_ROUNDING = 1e-9  # what it may do to a sum over paths, per unit of its terms


@dataclass(frozen=True)
class WeightCheck:
    """One weight's derivative along one direction, computed in two ways.

    Attributes:
        weight: its name.
        gradient: by back-propagation.
        difference: by differences of the loss.
        error: how far they are apart, relative to the larger.
        passed: whether that is within the tolerance.
        kinks: the source lines of the kinks that every difference straddled.
        paths: how many paths there are from the weight to the loss of a sample.
        path_error: how far the first sample's derivative is from the sum over them,
            relative to the sum of their sizes; ``None`` if it is too long a sum.
    """

    weight: str
    gradient: float
    difference: float
    error: float
    passed: bool
    kinks: tuple[str, ...]
    paths: int = 0
    path_error: float | None = None

    @property
    def defined(self) -> bool:
        """Whether no sum over paths says otherwise."""
        return self.path_error is None or self.path_error <= _ROUNDING


@dataclass(frozen=True)
class GradientCheck:
    """The checks of all weights."""

    weights: Sequence[WeightCheck]

    @property
    def passed(self) -> bool:
        """Whether no weight's gradient is wrong; one at a kink is not known to be."""
        return all(
            (check.passed or check.kinks) and check.defined for check in self.weights
        )

    def __str__(self) -> str:
        """One line for each weight."""
        width = max((len(check.weight) for check in self.weights), default=0)
        lines = []
        for check in self.weights:
            verdict = "ok" if check.passed else "WRONG"
            if not math.isfinite(check.gradient) or not math.isfinite(check.difference):
                verdict = "NOT FINITE here"
            if check.kinks and not check.passed:
                verdict = f"at a kink: {', '.join(check.kinks)}"
            paths = counted(check.paths, "path") + " to the loss"
            if check.path_error is not None:
                paths += f": {check.path_error:.1e}"
            if not check.defined:
                verdict = "WRONG, by the sum over paths"
            lines.append(
                f"{check.weight:{width}}  gradient {check.gradient: .9e}  difference "
                f"{check.difference: .9e}  relative error {check.error:.1e}  {paths}  "
                f"{verdict}"
            )
        return "\n".join(lines)


def check(
    program: Program,
    inputs: Inputs,
    targets: Any = None,
    *,
    target: str | None = None,
    columns: Mapping[str, Spec] | None = None,
    separator: str | None = None,
    missing: str = "refuse",
    weights: Any = None,
    loss: str | Loss = "square",
    penalty: Penalty | None = None,
    seed: int = 0,
) -> GradientCheck:
    """Check a program's gradient against differences, and against its definition.

    Args:
        program: the program.
        inputs: as for `dtrain.loss_and_gradient`.
        targets: what the output is compared with; by default a named column, else
            random targets, if the loss takes some.
        target: which column that is, as in `dtrain.train`.
        columns: which columns the inputs are, as in `dtrain.train`.
        separator: what separates the columns of a text file, as in `dtrain.train`.
        missing: ``refuse``, or ``skip``: leave out rows, as in `dtrain.train`.
        weights: where to check; by default the initialisers' values.
        loss: the loss.
        penalty: added to the mean loss, as in `dtrain.train`.
        seed: of weights, random targets and directions.

    Raises:
        UsageError, DataError, ProgramError: as `dtrain.train`.

    Example:
        >>> import numpy as np
        >>> from dtrain import check, zoo
        >>> check(zoo.lecture, [np.linspace(-1, 1, 5), np.ones(5)]).passed
        True
    """
    check_call("check", program)
    numerics.check_pins()
    the_loss = losses.named(loss)
    how: dict[str, Any] = {
        "columns": columns,
        "separator": separator,
        "missing": missing,
        "categories": categories_of(weights),
    }
    samples = as_samples(program, inputs, targets, target=target, **how)
    named = is_named(inputs) or target is not None
    if named and targets is None and the_loss.takes_target:
        with suppress(DataError):  # no column is the target: random ones
            samples = as_samples(
                program, inputs, target=target, with_target=True, **how
            )
    return check_samples(program, samples, the_loss, weights, seed, penalty)


def check_samples(
    program: Program,
    samples: Samples,
    loss: Loss,
    weights: Any = None,
    seed: int = 0,
    penalty: Penalty | None = None,
) -> GradientCheck:
    """Do the same as `check`, for samples that are bound to the program's inputs."""
    rng = seeded(seed)
    if samples.target is None and loss.takes_target:
        samples = _with_random_target(program, samples, loss, rng)
    world = SoloWorld()
    problem = Problem(world, program, samples, loss, dtype="float64", penalty=penalty)
    probe = _Probe(problem, problem.start(world, seed, weights))
    _, gradient = probe.loss_and_gradient()
    first = probe.loss_and_gradient(whole(1), penalised=False)[1]
    defined = Definition(problem, probe.weights)
    checks = []
    for name, view in probe.weights.values.items():
        direction = rng.standard_normal(view.shape)
        slope = float(np.sum(gradient[name] * direction))
        found = probe.along(name, direction, slope)
        count, error = defined.compare(name, first[name])
        checks.append(replace(found, paths=count, path_error=error))
    return GradientCheck(checks)


def _with_random_target(
    program: Program, samples: Samples, loss: Loss, rng: np.random.Generator
) -> Samples:
    """Return samples with targets of the kind that the loss takes."""
    padding = Padding.of(samples)
    graph = program.trace(**padding.shapes(padding.standard))
    target = loss_graph(graph, loss).target
    if target is None:
        return samples
    longer = program.trace(**padding.shapes(tuple(n + 1 for n in padding.standard)))
    if loss_graph(longer, loss).target != target:
        raise DataError(
            f"program {program.name} returns a row for each row of a ragged input: "
            "give targets; there are no random ones of such lengths"
        )
    drawn = target.draw(rng, len(samples))
    return replace(
        samples, target=drawn, origins=(*samples.origins, ("target",)), line_of=None
    )


def seeded(seed: int) -> np.random.Generator:
    """Return a generator for any seed, also a negative one."""
    return np.random.default_rng([abs(seed), int(seed < 0)])


class _Probe:
    """Evaluates the loss, and which pieces apply, at shifted weights."""

    def __init__(self, problem: Problem, weights: Weights) -> None:
        self.weights = weights
        self._evaluator = Evaluator(problem, SoloWorld(), block=len(problem.samples))
        self._batch = whole(len(problem.samples))
        self._sizes = problem.padding.largest(problem.samples)
        graphs = [problem.joined(self._sizes).graph]
        if problem.penalty is not None:
            graphs.append(problem.penalty.graph)
        layout, columns = problem.layout, problem.columns
        self._kinks = [Kinks(graph, layout, columns) for graph in graphs]
        self._sources = [source for kinks in self._kinks for source in kinks.sources]

    @np.errstate(all="ignore")
    def loss_and_gradient(
        self, batch: Batch | None = None, *, penalised: bool = True
    ) -> tuple[float, dict[str, NDArray[Any]]]:
        """Evaluate on a batch, or on all samples, with or without the penalty."""
        total = self._evaluator.sum(
            self.weights, batch or self._batch, penalised=penalised
        )
        return total.loss, {name: v.copy() for name, v in total.values.items()}

    def along(
        self, name: str, direction: NDArray[np.float64], slope: float
    ) -> WeightCheck:
        """Compare the slope with differences, until one straddles no kink."""
        view = self.weights.values[name]
        scale = max(1.0, float(np.max(np.abs(view), initial=0.0)))
        result = None
        for step in STEPS:
            coarse, _, first = self._difference(view, direction, step * scale)
            fine, size, second = self._difference(view, direction, step * scale / 2)
            difference = (4 * fine - coarse) / 3
            gap = abs(slope - difference)
            larger = max(abs(slope), abs(difference))
            allowed = TOLERANCE * larger + _NOISE * size / (step / STEPS[0])
            kinks = tuple(dict.fromkeys(first + second))
            result = WeightCheck(
                name,
                slope,
                difference,
                gap / larger if larger else 0.0,
                passed=bool(gap <= allowed),
                kinks=kinks,
            )
            if result.passed or not kinks:
                break
        assert result is not None  # noqa: S101  (there are steps)
        return result

    def _difference(
        self, view: NDArray[Any], direction: NDArray[Any], step: float
    ) -> tuple[float, float, tuple[str, ...]]:
        """The central difference, the size of the loss, and the kinks straddled."""
        kept = view.copy()
        values, pieces = [], []
        for sign in (1, -1):
            view[...] = kept + sign * step * direction
            self.weights.version += 1
            values.append(self.loss_and_gradient()[0])
            pieces.append(self._pieces())
        view[...] = kept
        self.weights.version += 1
        straddled = tuple(
            source
            for source, up, down in zip(self._sources, *pieces, strict=True)
            if not np.array_equal(up, down)
        )
        size = max(1.0, *map(abs, values))
        return (values[0] - values[1]) / (2 * step), size, straddled

    def _pieces(self) -> list[NDArray[Any]]:
        batch = self._batch
        block = RowBlocks(0, 1, len(batch), batch.rows, self._sizes)
        return [
            piece
            for kinks in self._kinks
            for piece in kinks.pieces(self.weights, block)
        ]
