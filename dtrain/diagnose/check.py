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
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dtrain.data.binding import Spec, Targets
from dtrain.data.columns import Samples
from dtrain.data.keys import target_text
from dtrain.data.readers import is_named
from dtrain.descent.loss_graph import loss_graph
from dtrain.descent.losses import Loss
from dtrain.descent.penalties import Penalty
from dtrain.descent.several import Losses, Several, fitted, named_targets
from dtrain.diagnose.definition import Definition
from dtrain.diagnose.probe import Probe, WeightCheck
from dtrain.errors import DataError
from dtrain.host import numerics
from dtrain.problem.evaluator import whole
from dtrain.problem.problem import Problem
from dtrain.problem.remembered import categories_of
from dtrain.problem.samples import Inputs, as_samples, check_call
from dtrain.problem.statistics import first_weights
from dtrain.tracing.printing import counted
from dtrain.tracing.trace import Program
from dtrain.worlds.local import SoloWorld


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
    target: Targets | None = None,
    columns: Mapping[str, Spec] | None = None,
    separator: str | None = None,
    missing: str = "refuse",
    weights: Any = None,
    loss: Losses = "square",
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
    the_loss, wanted = fitted(loss, named_targets(targets, target))
    how: dict[str, Any] = {
        "columns": columns,
        "separator": separator,
        "missing": missing,
        "categories": categories_of(weights),
    }
    samples = None
    named = is_named(inputs) or target is not None
    if named and targets is None and the_loss.takes_target:
        # Unless one is named: if no column is the target, random ones.
        with suppress(DataError) if target is None else nullcontext():
            samples = as_samples(
                program, inputs, target=wanted, with_target=True, **how
            )
    if samples is None:
        samples = as_samples(program, inputs, targets, **how)
    return check_samples(program, samples, the_loss, weights, seed, penalty)


def check_samples(
    program: Program,
    samples: Samples,
    loss: Loss | Several,
    weights: Any = None,
    seed: int = 0,
    penalty: Penalty | None = None,
) -> GradientCheck:
    """Do the same as `check`, for samples that are bound to the program's inputs."""
    rng = seeded(seed)
    if not samples.targets and loss.takes_target:
        samples = _with_random_targets(program, samples, loss, rng)
    world = SoloWorld()
    problem = Problem(world, program, samples, loss, dtype="float64", penalty=penalty)
    probe = Probe(problem, first_weights(problem, world, seed, weights))
    _, gradient = probe.loss_and_gradient()
    first = probe.loss_and_gradient(whole(1), penalised=False)[1]
    defined = Definition(problem, probe.weights)
    checks = []
    for name, view in probe.weights.values.items():
        if name in problem.quantity.frozen:
            continue  # a statistic of the data
        direction = rng.standard_normal(view.shape)
        slope = float(np.sum(gradient[name] * direction))
        found = probe.along(name, direction, slope)
        count, error = defined.compare(name, first[name])
        checks.append(replace(found, paths=count, path_error=error))
    return GradientCheck(checks)


def _with_random_targets(
    program: Program,
    samples: Samples,
    loss: Loss | Several,
    rng: np.random.Generator,
) -> Samples:
    """Return samples with targets of the kinds that the losses take."""
    shapes = {name: array.shape[1:] for name, array in samples.inputs.items()}
    terms = loss_graph(program.trace(**shapes), loss).terms
    drawn = {
        name: term.target.draw(rng, len(samples))
        for name, term in terms.items()
        if term.target is not None
    }
    origins = (*samples.origins, *((target_text(name),) for name in drawn))
    return replace(samples, targets=drawn, origins=origins, line_of=None)


def seeded(seed: int) -> np.random.Generator:
    """Return a generator for any seed, also a negative one."""
    return np.random.default_rng([abs(seed), int(seed < 0)])
