"""Several outputs, each with its loss and target: what is minimised is a weighted sum.

The total loss of a sample is Σ f_k L_k over the fitted outputs k, with a factor f_k for
each. One scale serves all: each adjoint is multiplied by f_k and by the ratio of the
scales of its loss and of the first one (lecture: −2/N for the square).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.descent.loss import TARGET, Loss, target_input
from dtrain.descent.losses import named
from dtrain.descent.metrics import Metric
from dtrain.errors import UsageError

Losses = str | Loss | Mapping[str, Any]
"""A loss; or by output a loss, or a pair of a loss and its factor."""
DEFAULT = "square"
"""The loss of an output that a mapping of losses does not name."""


@dataclass(frozen=True)
class Term:
    """One output's part of the total loss.

    Attributes:
        output: the output's name; ``None``: the only one of the program.
        loss: its loss.
        factor: the factor of this loss in the total.
    """

    output: str | None
    loss: Loss
    factor: float = 1.0

    @property
    def target(self) -> str:
        """The name of the graph's input for the target."""
        return target_input(self.output)


@dataclass(frozen=True)
class Several:
    """The total loss of several outputs.

    Attributes:
        terms: one for each fitted output, in the order of their names.
    """

    terms: tuple[Term, ...]

    @property
    def name(self) -> str:
        """The losses by output, as the command line takes them."""
        return " ".join(
            f"{term.output}={term.loss.name}"
            + (f":{term.factor:g}" if term.factor != 1 else "")
            for term in self.terms
        )

    @property
    def takes_target(self) -> bool:
        """Whether some loss compares its output with a target."""
        return any(term.loss.takes_target for term in self.terms)

    def scale(self, samples: float) -> float:
        """Return the scale of the first loss, which the other adjoints are fitted to.

        Args:
            samples: how many samples, or the sum of their weights.
        """
        return self.terms[0].loss.scale(samples)

    def metric(self, targets: Mapping[str, NDArray[Any]]) -> Metric:
        """Return the losses of all outputs, with the metrics that fit their targets."""
        metrics = (
            term.loss.metric(targets[term.target]) if term.target in targets else None
            for term in self.terms
        )
        return OutputMetrics(tuple(zip(self.terms, metrics, strict=True)))


@dataclass(frozen=True)
class OutputMetrics:
    """The mean loss (without its factor) and the metric of each fitted output.

    Their names begin with the output's: ``E.loss``, ``E.rmse``.

    Attributes:
        each: the terms, and the metric of each, if it has one.
    """

    each: tuple[tuple[Term, Metric | None], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all values."""
        return tuple(
            f"{term.output}.{name}"
            for term, metric in self.each
            for name in ("loss", *(metric.names if metric else ()))
        )

    @property
    def width(self) -> int:
        """How many numbers the terms of a sample have."""
        return sum(1 + (metric.width if metric else 0) for _, metric in self.each)

    def of_sample(self, output: Mapping[Any, Any], target: Mapping[Any, Any]) -> Any:
        """Return the losses of a sample, each followed by the terms of its metric.

        Args:
            output: the outputs by name.
            target: their targets by name.
        """
        sums: list[Any] = []
        for term, metric in self.each:
            of = output[term.output], target.get(term.output)
            sums.append(term.loss.of_sample(*of)[0])
            sums += metric.of_sample(*of) if metric else []
        return sums

    def values(
        self, sums: NDArray[np.float64], samples: Any
    ) -> Mapping[str, float | None]:
        """Return the mean losses, and the metrics' values.

        Args:
            sums: the sums of the terms, concatenated, each in C order.
            samples: how many samples, or the sum of their weights.
        """
        found: dict[str, float | None] = {}
        for term, metric in self.each:
            found[f"{term.output}.loss"] = float(sums[0]) / samples
            width = metric.width if metric else 0
            values = metric.values(sums[1 : 1 + width], samples) if metric else {}
            for name, value in values.items():
                found[f"{term.output}.{name}"] = value
            sums = sums[1 + width :]
        return found


def metric_of(
    loss: Loss | Several, targets: Mapping[str, NDArray[Any]]
) -> Metric | None:
    """Return a metric that fits these targets, if there is one.

    Args:
        loss: the loss.
        targets: all targets, by the name that they have as inputs.
    """
    if isinstance(loss, Several):
        return loss.metric(targets)
    return loss.metric(targets[TARGET]) if loss.takes_target and targets else None


def terms_of(loss: Loss | Several) -> tuple[tuple[Term, float], ...]:
    """Return the terms of a loss, each with the factor of its adjoint."""
    if not isinstance(loss, Several):
        return ((Term(None, loss), 1.0),)
    whole = loss.scale(1)
    return tuple(
        (each, each.factor * (each.loss.scale(1) / whole)) for each in loss.terms
    )


def fitted(loss: Any, target: Any) -> tuple[Loss | Several, Any]:
    """Return the loss that options mean, and the columns of its targets.

    The fitted outputs are those that ``loss`` or ``target`` names. The target of an
    output is the column of its name, and its loss the square, unless they are given.

    Args:
        loss: a loss, or for several outputs a mapping of outputs to losses, or to pairs
            of a loss and its factor.
        target: a column, a mapping of outputs to columns, or ``None``.

    Returns:
        The loss; and ``target`` as given for one output, or the column of every output
        whose loss takes a target, or ``None`` if none does.

    Raises:
        UsageError: the two do not fit together, or there is no such loss.
    """
    if not isinstance(loss, Mapping) and not isinstance(target, Mapping):
        return named(loss), target
    if target is not None and not isinstance(target, Mapping):
        raise UsageError(
            f"loss names outputs ({', '.join(map(str, loss))}), so target must, too: "
            f"target={{OUTPUT: {target!r}}} (--target OUTPUT={target})"
        )
    given = loss if isinstance(loss, Mapping) else {}
    columns = target or {}
    names = sorted({*given, *columns}, key=str)
    for name in names:
        if not isinstance(name, str) or not name:
            raise UsageError(f"an output's name must be a text, not {name!r}")
    if not names:
        raise UsageError("loss and target name no output: name those that are fitted")
    default = DEFAULT if isinstance(loss, Mapping) else loss
    terms = tuple(_term(name, given.get(name, default)) for name in names)
    for term in terms:
        if term.output in columns and not term.loss.takes_target:
            raise UsageError(
                f"output {term.output!r} has the target {columns[term.output]!r}, but "
                f"its loss {term.loss.name!r} takes none: leave out one of them"
            )
    targets = {
        term.output: columns.get(term.output, term.output)
        for term in terms
        if term.loss.takes_target
    }
    return Several(terms), targets or None


def named_targets(targets: Any, target: Any) -> Any:
    """Return ``target``, or for arrays by output a column of the output's name."""
    return {name: name for name in targets} if isinstance(targets, Mapping) else target


def _term(output: str, given: Any) -> Term:
    """Return the term of an output, from a loss or a pair of a loss and a factor."""
    loss, factor = given, 1.0
    if isinstance(given, tuple | list):
        if len(given) != 2:
            raise UsageError(
                f"the loss of output {output!r} is {given!r}; give a loss, or a loss "
                "and its factor, such as ('square', 0.1)"
            )
        loss, factor = given
    number = isinstance(factor, Real) and not isinstance(factor, bool)
    if not (number and math.isfinite(factor) and factor > 0):
        raise UsageError(
            f"the factor of output {output!r} is {factor!r}; it must be finite and > 0"
        )
    return Term(output, named(loss), float(factor))
