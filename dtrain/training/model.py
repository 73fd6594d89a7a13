"""What a run tells the files of its weights, so that they can be used again."""

from __future__ import annotations

from typing import Any

from dtrain.descent import losses
from dtrain.tracing.fingerprint import fingerprint
from dtrain.training.resume import versions
from dtrain.training.trainer import Trainer
from dtrain.training.values import described


def model_of(trainer: Trainer) -> dict[str, Any]:
    """Return the facts that `dtrain.checkpoint.model.SavedWeights` describes."""
    samples, loss = trainer.problem.samples, trainer.settings.the_loss
    origins = [list(names) for names in samples.origins]
    return {
        "program": trainer.problem.graph.name,
        "fingerprint": fingerprint(trainer.problem.graph),
        "columns": dict(zip(samples.inputs, origins, strict=False)),
        "target": None if samples.target is None else origins[len(samples.inputs)],
        "loss": losses.name_of(loss) or described(loss),
        "categories": {key: list(texts) for key, texts in samples.categories.items()},
        "versions": versions(),
    }
