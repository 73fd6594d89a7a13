"""The handwritten digits in the package: data without a download.

Optical Recognition of Handwritten Digits (test set): E. Alpaydin and C. Kaynak, UCI
Machine Learning Repository, DOI 10.24432/C50P49, CC BY 4.0. ``digits.LICENSE`` has the
full credit and the rule of the split. The split is made digit by digit: every fifth
sample of the whole file would hold out 26 of one digit and 48 of another.
"""

from __future__ import annotations

from importlib import resources
from typing import Literal, get_args

import numpy as np

from dtrain.data.columns import Dataset
from dtrain.errors import UsageError

Part = Literal["train", "heldout"]


def digits(part: Part) -> Dataset:
    """Return a part of the digits: 1 437 samples to train on, or 360 held out.

    The columns are ``x``, (N, 64), the pixels row by row from 0 to 1; ``t``, (N, 10),
    one-hot; and ``label``, (N,), the digit. Floats are float64, labels int64.

    Raises:
        UsageError: there is no such part.

    >>> {name: column.shape for name, column in digits("heldout").columns.items()}
    {'x': (360, 64), 't': (360, 10), 'label': (360,)}

    """
    if part not in get_args(Part):
        raise UsageError(f"the digits have no part {part!r}; there are train, heldout")
    with (
        resources.files("dtrain.data").joinpath("digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        pixels, label = arrays[f"{part}_x"], arrays[f"{part}_label"].astype(np.int64)
    columns = {"x": pixels / 16.0, "t": np.eye(10)[label], "label": label}
    return Dataset(columns, f"the digits ({part})")
