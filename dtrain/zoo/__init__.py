"""Ready programs with their data.

Each is used from the command line by its name, ``python -m dtrain train lecture``,
and from Python as ``dtrain.zoo.lecture``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dtrain.data.columns import Dataset
from dtrain.data.digits import digits
from dtrain.program.trace import Program
from dtrain.zoo.lecture import lecture, triples
from dtrain.zoo.mlp import mlp, mlp_scalar

__all__ = ["DATA", "ENTRIES", "Entry", "lecture", "mlp", "mlp_scalar"]


@dataclass(frozen=True)
class Entry:
    """A program of the zoo, and how it is trained if nothing else is said.

    Attributes:
        program: the program.
        data: the name of its training data in `DATA`.
        heldout: the name of samples that are kept out of training, if there are any.
        options: options of ``dtrain train``.
    """

    program: Program
    data: str
    heldout: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


DATA: dict[str, Callable[[], Dataset]] = {
    "lecture": triples,
    "digits": lambda: digits("train"),
    "digits-heldout": lambda: digits("heldout"),
}

_ON_DIGITS: dict[str, Any] = {
    "data": "digits",
    "heldout": "digits-heldout",
    "options": {
        "epochs": 30,
        "batch": 128,
        "block": 16,
        "optimizer": "adam",
        "learning_rate": 0.01,
    },
}

ENTRIES: dict[str, Entry] = {
    "mlp": Entry(mlp, **_ON_DIGITS),
    "mlp_scalar": Entry(mlp_scalar, **_ON_DIGITS),
    "lecture": Entry(
        lecture, data="lecture", options={"epochs": 200, "learning_rate": 0.5}
    ),
}
