"""Example programs with data.

Use them by name on the command line, ``python -m dtrain train lecture``, and in Python
as ``dtrain.zoo.lecture``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dtrain.data.columns import Dataset
from dtrain.data.digits import digits
from dtrain.descent.optimizers import adam, sgd
from dtrain.tracing.trace import Program
from dtrain.zoo.cnn import cnn
from dtrain.zoo.irregular import irregular, waves
from dtrain.zoo.lecture import lecture, triples
from dtrain.zoo.mlp import mlp, mlp_scalar
from dtrain.zoo.recurrent import lstm, recall, rnn
from dtrain.zoo.regression import cubic, logistic, polynomial, threes_and_eights
from dtrain.zoo.transformer import sequences, transformer

__all__ = [
    "DATA",
    "ENTRIES",
    "Entry",
    "cnn",
    "heldout",
    "irregular",
    "lecture",
    "logistic",
    "lstm",
    "mlp",
    "mlp_scalar",
    "polynomial",
    "rnn",
    "transformer",
]


@dataclass(frozen=True)
class Entry:
    """A program of the zoo, its data and its default options.

    Attributes:
        program: the program.
        data: the name of the training data in `DATA`.
        options: default options of the command ``train``, as for `dtrain.train`.
    """

    program: Program
    data: str
    options: Mapping[str, Any] = field(default_factory=dict)


_HELDOUT = "-heldout"


def _drawn(name: str, draw: Callable[..., Dataset]) -> dict[str, Callable[[], Dataset]]:
    """Return training data, and held-out data from another seed."""
    return {name: draw, name + _HELDOUT: partial(draw, samples=512, seed=1)}


DATA: dict[str, Callable[[], Dataset]] = {
    **_drawn("lecture", triples),
    **_drawn("cubic", cubic),
    **_drawn("waves", waves),
    **_drawn("recall-10", partial(recall, 10)),
    **_drawn("recall-100", partial(recall, 100)),
    **_drawn("sequences", sequences),
    "digits": partial(digits, "train"),
    "digits-heldout": partial(digits, "heldout"),
    "digits-3-8": partial(threes_and_eights, "train"),
    "digits-3-8-heldout": partial(threes_and_eights, "heldout"),
}


def heldout(data: str) -> str | None:
    """Return the name of the held-out samples for a data set, if there are any."""
    name = data + _HELDOUT
    return name if name in DATA else None


_MLP: dict[str, Any] = {
    "epochs": 30,
    "batch": 128,
    "block": 16,
    "optimizer": "adam",
    "learning_rate": 0.01,
}
_CLASSES: dict[str, Any] = {
    "loss": "cross_entropy",
    "optimizer": "adam",
    "learning_rate": 0.01,
}
_RECURRENT = {**_CLASSES, "optimizer": adam(clip_norm=1.0), "batch": 128, "epochs": 8}

ENTRIES: dict[str, Entry] = {
    "mlp": Entry(mlp, "digits", _MLP),
    "mlp_scalar": Entry(mlp_scalar, "digits", _MLP),
    "lecture": Entry(lecture, "lecture", {"epochs": 200, "learning_rate": 0.5}),
    "polynomial": Entry(
        polynomial,
        "cubic",
        {"epochs": 500, "optimizer": sgd(momentum=0.9), "learning_rate": 0.1},
    ),
    "logistic": Entry(
        logistic,
        "digits-3-8",
        {"epochs": 100, "loss": "binary_cross_entropy", "learning_rate": 0.1},
    ),
    "irregular": Entry(
        irregular,
        "waves",
        {"epochs": 100, "batch": 128, "optimizer": "adam", "learning_rate": 0.01},
    ),
    "rnn": Entry(rnn, "recall-10", _RECURRENT),
    "lstm": Entry(lstm, "recall-100", _RECURRENT),
    "cnn": Entry(cnn, "digits", {**_CLASSES, "batch": 64, "epochs": 20}),
    "transformer": Entry(
        transformer,
        "sequences",
        {**_CLASSES, "learning_rate": 0.005, "batch": 128, "epochs": 20},
    ),
}


def __dir__() -> list[str]:
    """List the public names, for tab completion."""
    return sorted(__all__)
