"""What the fields of a CSV file mean: numbers, truth values, gaps, or text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

GAPS = frozenset({"", "#N/A N/A", "#N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan"})
GAPS |= {"1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan"}
GAPS |= {"null"}
"""The fields that are missing values; the same as pandas takes for them."""
SPACE = " \t\r\n"
"""The characters around a field that do not belong to it."""
TRUTH = {
    "True": 1.0,
    "TRUE": 1.0,
    "true": 1.0,
    "False": 0.0,
    "FALSE": 0.0,
    "false": 0.0,
}


def is_number(text: str) -> bool:
    """Return whether a text is a number: not 1_000, nor １, which Python takes."""
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text


def number(text: str) -> float | None:
    """Return the number of a field, NaN for a gap; ``None`` if it is another text.

    >>> [number(field) for field in (" 1e3", "TRUE", "four")]
    [1000.0, 1.0, None]
    """
    text = text.strip(SPACE)
    if text in GAPS:
        return float("nan")
    return float(text) if is_number(text) else TRUTH.get(text)


def numbers(fields: Sequence[str]) -> NDArray[np.float64] | None:
    """Return the numbers of some fields; ``None`` if a field is text."""
    joined = "".join(fields)
    if joined.isascii() and "_" not in joined:
        try:
            return np.fromiter(map(float, fields), np.float64, len(fields))
        except ValueError:
            pass
    found = [number(field) for field in fields]
    return None if None in found else np.array(found, np.float64)
