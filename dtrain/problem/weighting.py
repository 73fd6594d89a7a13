"""Weights of samples by the class of their target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.columns import TARGET_KEY, Samples
from dtrain.descent.losses import Loss
from dtrain.descent.metrics import Accuracy, one_hot
from dtrain.errors import DataError, UsageError

BALANCED = "balanced"


def class_factors(
    samples: Samples, class_weight: str | Mapping[Any, float], loss: Loss
) -> dict[int, float]:
    """Return the factor of each class that is named, or of all classes of the samples.

    ``balanced`` gives each of the k classes of N samples the factor N / (k n), where n
    samples are of the class; with weights of samples, N and n are sums of weights. Each
    class then has the same weight in all. A class that a mapping does not name has the
    factor 1.

    Args:
        samples: the samples that are trained on, the same on every rank.
        class_weight: ``balanced``, or factors by label: an integer, or a text of a
            column of text.
        loss: the loss.

    Raises:
        UsageError: targets are not classes for this loss; DataError: no target has a
            label that is named.
    """
    labels = _labels(samples, loss)
    found, of = np.unique(labels, return_inverse=True)
    if class_weight == BALANCED:
        weight = samples.weight
        counts = np.bincount(of, None if weight is None else np.asarray(weight))
        if not counts.all():
            raise DataError(
                f"{samples.source}: all samples of class {found[counts == 0][0]} have "
                "the weight 0, so the classes cannot be balanced"
            )
        each = counts.sum() / (len(found) * counts)
        return {int(label): float(x) for label, x in zip(found, each, strict=True)}
    texts = samples.categories.get(TARGET_KEY)
    known = {texts[int(label)] if texts else int(label): int(label) for label in found}
    assert isinstance(class_weight, Mapping)  # noqa: S101  (the options' check)
    unknown = [label for label in class_weight if label not in known]
    if unknown:
        raise DataError(
            f"{samples.source}: class_weight names {unknown[0]!r}, but the classes of "
            f"the samples are {', '.join(map(repr, known))}"
        )
    return {known[label]: float(factor) for label, factor in class_weight.items()}


def with_class_weights(
    samples: Samples, factors: Mapping[int, float], loss: Loss
) -> Samples:
    """Return samples whose weights are multiplied by the factors of their classes."""
    labels = _labels(samples, loss)
    weight = np.ones(len(labels))
    if samples.weight is not None:
        weight = np.array(samples.weight, np.float64)
    for label, factor in factors.items():
        weight[labels == label] *= factor
    return replace(samples, weight=weight)


def _labels(samples: Samples, loss: Loss) -> NDArray[Any]:
    target = samples.target
    if isinstance(target, np.ndarray) and isinstance(loss.metric(target), Accuracy):
        if one_hot(target):
            return np.asarray(np.argmax(target, axis=1))
        if target.ndim == 1:
            return np.asarray(target)
    raise UsageError(
        "class_weight needs a loss of classes, such as cross_entropy, and one label "
        "for each sample"
    )
