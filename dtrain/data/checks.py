"""Check the values of columns, about a MiB at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dtrain.data.digest import CHUNK
from dtrain.data.ragged import Ragged
from dtrain.data.values import MISSING

Column = NDArray[Any] | Ragged
Rows = NDArray[Any]
_ADVICE = (
    "fill it in, leave out such rows with --missing skip (missing='skip'), or let the "
    "program handle NaN in this input (np.isnan, np.nanmean, ...)"
)


class Check(NamedTuple):
    """What an array must hold.

    Attributes:
        names: the names of its columns.
        array: (N, ...).
        fits: returns which elements of some rows are valid.
        must: the requirement, for the message.
    """

    names: tuple[str, ...]
    array: Column
    fits: Callable[[Rows], Rows]
    must: str


def first_invalid(
    checks: Sequence[Check], start: int, stop: int
) -> tuple[int, str] | None:
    """Return the first of the rows [start, stop) that is not valid, and what is wrong.

    If all are valid, return ``None``.
    """
    widest = max((check.array[:1].nbytes for check in checks), default=0)
    height = max(1, CHUNK // max(1, widest))
    for low in range(start, stop, height):
        invalid = []
        for check in checks:
            part = check.array[low : min(low + height, stop)]
            values = part.values if isinstance(part, Ragged) else part
            fit = check.fits(values)
            if not fit.all():
                first = np.argwhere(~fit)[0].tolist()
                row, *index = first
                if isinstance(part, Ragged):
                    row, index = part.owner(row)[0], [part.owner(row)[1], *index]
                value = np.nan if check.fits is is_text else values[tuple(first)]
                invalid.append((row, _description(check, index, value)))
        if invalid:
            row, text = min(invalid, key=lambda found: found[0])
            return low + row, text
    return None


def _description(check: Check, index: list[int], value: Any) -> str:
    names = check.names
    name = repr(names[index.pop(0)] if len(names) > 1 else names[0])
    element = name + (f" at {index}" if index else "")
    if value != value:
        return f"column {element} is nan (an empty or missing value): {_ADVICE}"
    return f"column {element} is {value}: {check.must}"


def is_text(codes: Rows) -> Rows:
    """Return which codes stand for a text."""
    return np.not_equal(codes, MISSING)


def not_inf(values: Rows) -> Rows:
    """Return which numbers are not infinite."""
    return np.logical_not(np.isinf(values))


def not_negative(values: Rows) -> Rows:
    """Return which numbers are 0 or more."""
    return np.asarray(values >= 0)


def position(source: str, row: int, line_of: Callable[[int], int] | None) -> str:
    """Return where users find a row (from 0): its number from 1 and its line."""
    line = "" if line_of is None else f" (line {line_of(row)})"
    return f"{source}: row {row + 1}{line}"
