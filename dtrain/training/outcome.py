"""The outcome of a run: why it ended, its weights, and its report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dtrain.gradient.vector import Weights
from dtrain.host import pinning
from dtrain.tracing.printing import counted
from dtrain.training.rows import LIBRARY
from dtrain.training.run import Step
from dtrain.training.signals import Ask
from dtrain.training.trainer import Trainer


def reason(trainer: Trainer) -> str:
    """Return why no more steps are to be taken; empty if they are.

    It follows from the state and the options alone. So all ranks find the same, and a
    run that is resumed after it has stopped stops again, unless its options have
    changed.

    Returns:
        ``patience``, ``converged``, or nothing.
    """
    state, tolerance = trainer.state, trainer.settings.tolerance
    if not state.at_epoch_end:
        return ""
    if state.record is not None and state.record.stops:
        return "patience"
    settled = tolerance is not None and state.settled(tolerance)
    return "converged" if settled or trainer.course.converged else ""


def final_weights(trainer: Trainer) -> Weights:
    """Return the weights that the run results in: the last or the best ones.

    The state keeps the last ones, from which a resumed run continues.
    """
    record = trainer.state.record
    if record is None or not record.restores:
        return trainer.weights
    best = Weights(trainer.weights.layout)
    best.flat[:] = record.best
    return best


def report(
    trainer: Trainer,
    history: Sequence[Step],
    seconds: float,
    ended: int,
    why: str,
) -> dict[str, Any]:
    """Return the run in numbers, by the keys of ``--report``.

    Args:
        trainer: after the last step.
        history: the steps that were taken in this process.
        seconds: how long they took.
        ended: what all ranks have agreed on, of ``Ask.END``.
        why: what a callback has said.
    """
    problem, state, settings = trainer.problem, trainer.state, trainer.settings
    losses = state.losses
    visited = sum(step.samples for step in history)
    reported = [option.name for option in LIBRARY if option.report]
    return {
        "program": problem.graph.name,
        "ranks": trainer.world.size,
        "hosts": list(dict.fromkeys(trainer.world.hosts)),
        "mpi": trainer.world.mpi,
        **{name: getattr(settings, name) for name in reported},
        "bits": pinning.chosen(),
        "bits_differ": trainer.differing,
        "threads": trainer.threads,
        "samples": len(problem.samples),
        "rows_left_out": problem.samples.left_out,
        "categories": {
            name: list(labels) for name, labels in problem.samples.categories.items()
        },
        "weights": problem.layout.count,
        "batch": trainer.order.nominal,
        "block": trainer.evaluator.block,
        "blocks": trainer.blocks,
        "steps": state.steps,
        "skipped_steps": state.skipped,
        "loss": losses[-1] if losses else None,
        "loss_history": losses,
        **_validation(trainer),
        **_ending(trainer, ended, why),
        "seconds": seconds,
        "samples_per_second": visited / seconds if seconds else 0.0,
    }


def _validation(trainer: Trainer) -> dict[str, Any]:
    """Return what was validated; nothing but ``None`` without validation."""
    record, validator = trainer.state.record, trainer.validator
    if record is None or validator is None:
        names = ("samples", "loss", "history")
        return {f"validation_{name}": None for name in names} | {"best_epoch": None}
    return {
        "validation_samples": validator.samples,
        "validation_loss": record.result,
        "validation_history": record.history(),
        "best_epoch": record.best_epoch or None,
    }


def _ending(trainer: Trainer, ended: int, why: str) -> dict[str, Any]:
    """Return ``stopped``, ``converged`` and ``message``."""
    state, settings = trainer.state, trainer.settings
    steps, epochs = state.steps, settings.epochs
    found = reason(trainer)
    stopped = "epochs"
    message = f"all {counted(epochs, 'epoch')} are done"
    after = f"after step {steps} of {trainer.steps}"
    if ended & Ask.CALLBACK and steps < trainer.steps:
        stopped, message = "callback", f"{why} ({after})"
    elif ended & Ask.INTERRUPT and steps < trainer.steps:
        stopped, message = "signal", f"interrupted by Ctrl-C {after}"
    elif found == "patience" and state.record is not None:
        stopped = found
        message = (
            f"{counted(state.record.stale, 'validation')} without an improvement: "
            f"stopped after epoch {state.epochs} of {epochs}"
        )
    elif found == "converged":
        stopped = found
        message = trainer.course.converged or (
            f"the loss changed by less than {settings.tolerance:g} of itself in two "
            f"epochs in a row: stopped after epoch {state.epochs} of {epochs}"
        )
    if state.record is not None and state.record.restores:
        message += f"; the weights are those of epoch {state.record.best_epoch}"
    tested = settings.tolerance is not None or trainer.course.converged
    converged = found == "converged" if tested else None
    return {"stopped": stopped, "converged": converged, "message": message}
