"""What callbacks and callers see of a training run: its steps, and its result."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from numpy.typing import NDArray

from dtrain.checkpoint.output import save


class Live:
    """What a callback may reach of a run while it trains.

    Attributes:
        weights: the current weights, by name: read-only views.
        stop: asks the run to end, with a reason.
    """

    def __init__(
        self, weights: Mapping[str, NDArray[Any]], stop: Callable[[str], None]
    ) -> None:
        self.weights = {name: view.view() for name, view in weights.items()}
        for view in self.weights.values():
            view.flags.writeable = False
        self.stop = stop


@dataclass(frozen=True, slots=True)
class Step:
    """A completed step, the same on every rank; callbacks get one after every step.

    Attributes:
        step: the step's number in the run, from 1.
        steps: how many steps the whole run has.
        epoch: the epoch's number, from 1.
        is_epoch_end: whether the step is the last of its epoch.
        loss: the mean loss of the batch, before the step.
        samples: the samples of the batch, over all ranks.
        learning_rate: the learning rate of the step.
        seconds: since the training loop began.
        validation: the ``samples``, the mean ``loss`` and the metrics of the held-out
            samples after the step, if they were measured; ``None`` for a value that is
            not finite.
    """

    step: int
    steps: int
    epoch: int
    is_epoch_end: bool
    loss: float
    samples: int
    learning_rate: float
    seconds: float
    validation: Mapping[str, float | None] | None = None
    _live: Live | None = field(default=None, repr=False, compare=False)

    @property
    def weights(self) -> Mapping[str, NDArray[Any]]:
        """The weights after the step, by name: read-only views that later steps change.

        Raises:
            RuntimeError: after the callback has returned.
        """
        return self._reach().weights

    def stop(self, why: str = "") -> None:
        """End the run after this step, on all ranks, normally and with its weights.

        Any rank may ask. All ranks agree in the sum of the next step, which is then not
        taken.

        Args:
            why: the reason, for the report.

        Raises:
            RuntimeError: after the callback has returned.
        """
        self._reach().stop(why)

    def facts(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return {name: getattr(self, name) for name in _FACTS}

    def _reach(self) -> Live:
        if self._live is None:
            raise RuntimeError("a Step reaches its run only while a callback is called")
        return self._live


_FACTS = [each.name for each in fields(Step) if each.name != "_live"]


@dataclass(frozen=True)
class Run:
    """The result of `dtrain.train`.

    Attributes:
        weights: the trained weights, by name.
        history: one `Step` for each step taken in this process.
        digest: SHA-256 over the weights in name order; equal digests, equal bits.
        report: the run in numbers; the keys are those of ``--report``.
        model: what a file of the weights remembers, and `evaluate` and `predict` use:
            see `dtrain.checkpoint.model.SavedWeights`.
    """

    weights: Mapping[str, NDArray[Any]]
    history: Sequence[Step]
    digest: str
    report: Mapping[str, Any]
    model: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def categories(self) -> dict[str, list[str]]:
        """The texts of each input that reads a column of text, in the order of codes.

        The target's key is ``(target)``.
        """
        return dict(self.report["categories"])

    def __repr__(self) -> str:
        """Return one line; the history alone may have thousands."""
        shown = {key: self.report.get(key) for key in ("epochs", "steps", "loss")}
        about = ", ".join(f"{key}={value}" for key, value in shown.items())
        if self.report.get("stopped") not in (None, "epochs"):
            about += f", {self.report['message']}"
        return f"<Run of {self.report.get('program')}: {about}, digest={self.digest}>"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the weights to a safetensors file, whole or not at all.

        Raises:
            UsageError: it cannot be written; a file that was there is kept.
        """
        save(self.weights, path, self.model)
