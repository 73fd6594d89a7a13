"""What a run tells the files of its weights, so that they can be used again."""

from __future__ import annotations

from typing import Any

from dtrain.data.keys import TARGET_KEY
from dtrain.descent.several import Several
from dtrain.problem.remembered import loss_facts
from dtrain.tracing.fingerprint import fingerprint
from dtrain.training.resume import versions
from dtrain.training.trainer import Trainer
from dtrain.training.values import described


def model_of(trainer: Trainer) -> dict[str, Any]:
    """Return the facts that `dtrain.checkpoint.model.SavedWeights` describes."""
    samples, loss = trainer.problem.samples, trainer.settings.the_loss
    origins = [list(names) for names in samples.origins]
    columns = dict(zip(samples.keys, origins, strict=False))
    target: Any = columns.get(TARGET_KEY)
    if isinstance(loss, Several):
        terms = [term for term in loss.terms if term.target in columns]
        target = {term.output: columns[term.target] for term in terms}
    return {
        "program": trainer.problem.graph.name,
        "fingerprint": fingerprint(trainer.problem.graph),
        "columns": {name: columns[name] for name in samples.inputs},
        "target": target,
        "loss": loss_facts(loss) or described(loss),
        "categories": {key: list(texts) for key, texts in samples.categories.items()},
        "versions": versions(),
    }
