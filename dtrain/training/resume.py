"""Whether a run may resume from a checkpoint, and the loading of its state."""

from __future__ import annotations

import logging
import platform

from dtrain.checkpoint.file import Checkpoint
from dtrain.errors import UsageError
from dtrain.host.numerics import arithmetic
from dtrain.training.trainer import Trainer
from dtrain.training.values import Spanning

LOG = logging.getLogger("dtrain")
_FIXED = ("weights", "dtype")  # not even --force can resume with others


def adopt(trainer: Trainer, found: Checkpoint, *, force: bool) -> bool:
    """Load a checkpoint into the trainer's state, unless it is of another run.

    Returns:
        Whether nothing has changed since it was saved.

    Raises:
        UsageError: naming what has changed.
    """
    was, now = found.facts["run"], trainer.identity
    changed = [name for name in {**now, **was} if was.get(name) != now.get(name)]
    if changed and not (force and not set(changed) & set(_FIXED)):
        texts = [_change(name, was.get(name), now.get(name)) for name in changed]
        fixed = [name for name in changed if name in _FIXED]
        advice = "run with the former options, or add --force to resume all the same"
        if fixed:
            advice = f"a run cannot be resumed with another {' or '.join(fixed)}"
        raise UsageError(
            f"checkpoint {found.path} is of another run: {'; '.join(texts)}; {advice}"
        )
    _warn(trainer, found, changed)
    try:
        trainer.state.assign(found.arrays)
    except ValueError as error:
        raise UsageError(f"checkpoint {found.path} does not fit: {error}") from None
    if {"batch", "data set"} & set(changed):
        trainer.state.restart_epoch(found.facts["steps_per_epoch"])
    if "validation" in changed and trainer.state.record is not None:
        trainer.state.record.clear()
    if "program" in changed:
        trainer.weights.project()  # the weights may have other bounds now
    if trainer.state.steps > trainer.steps:
        raise UsageError(
            f"checkpoint {found.path} has taken {trainer.state.steps} steps, and "
            f"{trainer.settings.epochs} epochs have only {trainer.steps}; give more"
        )
    return not changed


def _warn(trainer: Trainer, found: Checkpoint, changed: list[str]) -> None:
    """Warn of what gives other bits than an uninterrupted run."""
    facts = found.facts
    if changed:
        LOG.warning("--force: resuming with another %s", ", ".join(changed))
    others = versions()
    for name, version in facts["versions"].items():
        if others.get(name) != version:
            LOG.warning(
                "the checkpoint was made with %s %s, this is %s: bits may differ",
                name,
                version,
                others.get(name),
            )
    if (
        isinstance(trainer.settings.learning_rate, Spanning)
        and trainer.settings.learning_rate.name != "constant"
        and facts["epochs"] != trainer.settings.epochs
    ):
        LOG.warning(
            "the learning-rate schedule spans the whole run: from here on it is "
            "that of %d epochs, before it was that of %d",
            trainer.settings.epochs,
            facts["epochs"],
        )


def _change(name: str, was: str | None, now: str | None) -> str:
    if (
        name == "validation"
        and "none" not in (was, now)
        and "rows" not in f"{was}{now}"
    ):
        return "the validation data have changed"
    if name in ("data set", "program", "penalty's graph"):
        return f"the {name} has changed"
    if name == "weights":
        return "the weights have other names or shapes"
    if name == "batch":
        was, now = ("full" if each == "None" else each for each in (was, now))
    return f"{name} was {was} and is {now}"


def versions() -> dict[str, str]:
    """Return the versions of what bits depend on, and Python's."""
    return {**arithmetic(), "Python": platform.python_version()}
