"""What is known of weights from their file or their `Run`, and how it is used again."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from dtrain.checkpoint.folder import load
from dtrain.checkpoint.model import facts_of
from dtrain.data.columns import Samples
from dtrain.data.keys import TARGET_KEY
from dtrain.descent import losses
from dtrain.descent.losses import Loss
from dtrain.descent.several import Several, fitted
from dtrain.errors import DataError, UsageError
from dtrain.tracing.fingerprint import fingerprint
from dtrain.tracing.graph import FlowGraph

LOG = logging.getLogger("dtrain")


def opened(weights: Any) -> Any:
    """Return weights, read from their file if a path is given.

    Raises:
        DataError: the file holds no weights.
    """
    return load(weights) if isinstance(weights, str | os.PathLike) else weights


def chosen_fit(weights: Any, loss: Any, target: Any) -> tuple[Loss | Several, Any]:
    """Return the loss and the target that were asked for; see `fitted`.

    What was not asked for is that of the weights' run, or else the usual: the square.

    Args:
        weights: from a file, or of a `Run`; or any, of which nothing is known.
        loss: what was asked for, if anything.
        target: what was asked for, if anything.

    Raises:
        UsageError: the weights were trained with another loss, or with one that has no
            name and was not given.
    """
    facts = facts_of(weights)
    trained = facts.get("loss")
    if trained is None:
        return fitted("square" if loss is None else loss, target)
    if isinstance(trained, Mapping) and isinstance(target, Mapping | None):
        known_columns = {
            output: names[0] if len(names) == 1 else names
            for output, names in facts.get("target", {}).items()
        }
        target = {**known_columns, **(target or {})}
    known = isinstance(trained, Mapping) or trained in losses.LOSSES
    if loss is None:
        if not known:
            raise UsageError(
                f"the weights were trained with loss {trained}, which is none of "
                f"{', '.join(losses.LOSSES)}: give it"
            )
        return fitted(trained, target)
    given, target = fitted(loss, target)
    named = loss_facts(given)
    if known and named != trained:
        raise UsageError(
            f"the weights were trained with loss {_text(trained)}, not "
            f"{_text(named or given.name)}: leave the loss out"
        )
    return given, target


def loss_facts(loss: Loss | Several) -> str | dict[str, list[Any]]:
    """Return what a file of weights says of a loss: its name; empty if it has none.

    For several outputs it is a name and a factor by output.
    """
    if not isinstance(loss, Several):
        return losses.name_of(loss)
    names = {term.output: losses.name_of(term.loss) for term in loss.terms}
    if not all(names.values()):
        return ""
    return {str(t.output): [names[t.output], t.factor] for t in loss.terms}


def _text(facts: str | Mapping[str, Any]) -> str:
    if isinstance(facts, str):
        return repr(facts)
    return " ".join(
        f"{output}={name}" + (f":{factor:g}" if factor != 1 else "")
        for output, (name, factor) in facts.items()
    )


def usual_columns(weights: Any) -> dict[str, Sequence[str]]:
    """Return the columns that the weights' run has read, by input, and ``(target)``.

    Those of the targets of several outputs come from `chosen_fit`.
    """
    facts = facts_of(weights)
    columns, target = facts.get("columns", {}), facts.get("target")
    return (
        {**columns, TARGET_KEY: target} if isinstance(target, list) else dict(columns)
    )


def check_same_program(program: FlowGraph, weights: Any) -> None:
    """Warn if the program is not the one that the weights were trained with."""
    facts = facts_of(weights)
    known = facts.get("fingerprint")
    if known is not None and known != fingerprint(program):
        LOG.warning(
            "program %s is not the one that the weights were trained with (%s): it has "
            "changed since, or its inputs have other shapes",
            program.name,
            facts.get("program"),
        )


def categories_of(weights: Any) -> Mapping[str, Sequence[str]]:
    """Return the texts that a `Run` was trained on, by input; none of other weights."""
    known = getattr(weights, "categories", None)
    return known if isinstance(known, Mapping) else {}


def check_known(samples: Samples, known: Mapping[str, Sequence[str]]) -> None:
    """Check that text is coded as it was in training.

    Raises:
        DataError: a column holds text whose codes are not known.
    """
    for key in samples.categories:
        if key not in known:
            raise DataError(
                f"{samples.source}: the column of {key!r} holds text, but it is not "
                "known which number each text had in training: give the Run in place "
                "of its weights, or their file"
            )
