"""What is known of weights from their file or their `Run`, and how it is used again."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from dtrain.checkpoint.folder import load
from dtrain.checkpoint.model import facts_of
from dtrain.data.columns import TARGET_KEY, Samples
from dtrain.descent import losses
from dtrain.descent.losses import Loss
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


def chosen_loss(weights: Any, loss: str | Loss | None) -> Loss:
    """Return the loss that was asked for, else that of the weights' run, else square.

    Args:
        weights: from a file, or of a `Run`; or any, of which nothing is known.
        loss: what was asked for, if anything.

    Raises:
        UsageError: the weights were trained with another loss, or with one that has no
            name and was not given.
    """
    trained = facts_of(weights).get("loss")
    if trained is None:
        return losses.named("square" if loss is None else loss)
    if loss is None:
        if trained not in losses.LOSSES:
            raise UsageError(
                f"the weights were trained with loss {trained}, which is none of "
                f"{', '.join(losses.LOSSES)}: give it"
            )
        return losses.named(trained)
    given = losses.named(loss)
    if trained in losses.LOSSES and losses.name_of(given) != trained:
        raise UsageError(
            f"the weights were trained with loss {trained!r}, not {given.name!r}: "
            "leave the loss out"
        )
    return given


def usual_columns(weights: Any) -> dict[str, Sequence[str]]:
    """Return the columns that the weights' run has read, by input, and ``(target)``."""
    facts = facts_of(weights)
    target = facts.get("target")
    return {**facts.get("columns", {}), **({TARGET_KEY: target} if target else {})}


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
