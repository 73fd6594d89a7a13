"""Compare named arrays of all ranks, and show the first value that differs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.digest import FULL, digest
from dtrain.data.ragged import Ragged
from dtrain.data.values import Coded, Values
from dtrain.errors import MismatchError
from dtrain.worlds.verdict import mark_agreed
from dtrain.worlds.world import World

Arrays = Mapping[str, NDArray[Any]]


def compare_arrays(
    world: World, what: str, total: str, arrays: Arrays, kind: str
) -> None:
    """Compare the arrays of all ranks by their digest; collective.

    Args:
        world: the ranks.
        what: the arrays' name in a message.
        total: this rank's digest of all arrays.
        arrays: this rank's arrays by name.
        kind: the name of one array in a message, such as ``column``.

    Raises:
        MismatchError: on every rank, with the first array that differs, and its first
            value that differs where shapes and types agree.

    """
    try:
        world.compare(what, total)
    except MismatchError as error:
        facts = {
            name: [f"{array.dtype.str} of shape {array.shape}", digest({name: array})]
            for name, array in arrays.items()
        }
        notes = world.allgather(json.dumps(facts, sort_keys=True).encode())
        odd = error.rank or 0
        usual = notes.index(Counter(notes).most_common(1)[0][0])
        mine, theirs = json.loads(notes[odd]), json.loads(notes[usual])
        names = [n for n in sorted({*mine, *theirs}) if mine.get(n) != theirs.get(n)]
        if not names:
            raise
        name = names[0]
        form, usual_form = (facts.get(name, ["none"])[0] for facts in (mine, theirs))
        text = f"{form} on rank {odd}, {usual_form} on rank {usual}"
        if form == usual_form:
            text = _first_value(world, arrays.get(name), odd, usual)
            text = text or f"{form} on both ranks, with other values"
        found = MismatchError(
            f"{error}; the first {kind} that differs: {name!r}, {text}"
        )
        raise mark_agreed(found, odd) from None


def compare_data(world: World, columns: Mapping[str, Values]) -> str:
    """Compare the columns that each rank has read; see `compare_arrays`; collective.

    Returns their digest. A column of text counts as two arrays: codes and labels; a
    ragged one as values and lengths.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, column in columns.items():
        if isinstance(column, Coded):
            arrays[name] = column.codes
            arrays[f"{name} (labels)"] = np.array(column.labels, np.str_)
        elif isinstance(column, Ragged):
            arrays[name] = column.values
            arrays[f"{name} (lengths)"] = column.lengths
        else:
            arrays[name] = column
    total = digest(arrays)
    compare_arrays(world, "data set", total, arrays, "column")
    return total


def _first_value(world: World, array: NDArray[Any] | None, odd: int, usual: int) -> str:
    """Send the array of one rank to another, which tells where they differ."""
    if array is None or array.nbytes > FULL:
        array = np.empty(0)
    text, flat = "", np.ascontiguousarray(array).reshape(-1)
    if world.rank == odd:
        other = np.empty_like(flat)
        world.swap([], [(usual, other.view(np.uint8))])
        rows = [each.view(f"V{each.itemsize}") for each in (flat, other)]
        places = np.flatnonzero(rows[0] != rows[1]) if flat.size else flat
        if places.size:
            first = int(places[0])
            at = [int(i) for i in np.unravel_index(first, array.shape)]
            text = (
                f"the first of {places.size} values at {at}: {flat[first]!s} on rank "
                f"{odd}, {other[first]!s} on rank {usual}"
            )
    else:
        sends = [(odd, flat.view(np.uint8))] if world.rank == usual else []
        world.swap(sends, [])
    return world.allgather(text.encode())[odd].decode()
