"""Read a data set once on each host: one rank parses it, the others map its columns."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.gaps import Found
from dtrain.data.reading import Binding
from dtrain.data.values import Coded, Values
from dtrain.problem.agreement import together
from dtrain.problem.differences import compare_data, digest_of
from dtrain.reduction.segment import NotSharedError, open_segment
from dtrain.worlds.host_memory import HostMemory
from dtrain.worlds.world import World

SMALL = 2**20
"""Bytes of a file up to which each rank reads it: sharing would cost more."""
_ROWS = "(rows)"


def read_columns(
    world: World,
    binding: Binding,
    missing: str,
    categories: Mapping[str, Sequence[str]] | None,
) -> tuple[Found, str, bool]:
    """Read the columns of a binding, the same on every rank; collective.

    Returns the columns, their digest, and whether the ranks of a host share them.

    Raises:
        DataError, MismatchError: on every rank.
    """
    shared = _is_worth_sharing(world, binding)
    if shared:
        try:
            found, total = _read_together(world, binding, missing, categories)
            compare_data(world, found.columns, total)
            return found, total, True
        except NotSharedError:
            pass  # each rank reads for itself
    with together(world):
        found = binding.read(missing, categories)
    return found, compare_data(world, found.columns), False


def _is_worth_sharing(world: World, binding: Binding) -> bool:
    """Return whether the ranks of each host parse one large file; collective."""
    if max(map(len, world.groups)) == 1:
        return False
    path = binding.dataset.parsed
    facts: Any = None
    if path is not None:
        try:
            stat = os.stat(path)
            size = _size(path)
            facts = [stat.st_dev, stat.st_ino, stat.st_mtime_ns, size]
        except OSError:
            facts = None
    worth = facts is not None and facts[3] > SMALL
    notes = world.allgather(json.dumps([worth, facts]).encode())
    return all(
        json.loads(notes[group[0]])[0] and len({notes[rank] for rank in group}) == 1
        for group in world.groups
    )


def _size(path: str) -> int:
    if not os.path.isdir(path):
        return os.stat(path).st_size
    found = os.walk(path)
    return sum(
        os.stat(os.path.join(at, f)).st_size for at, _, files in found for f in files
    )


def _read_together(
    world: World,
    binding: Binding,
    missing: str,
    categories: Mapping[str, Sequence[str]] | None,
) -> tuple[Found, str]:
    with HostMemory(world) as memory:
        return _shared(world, memory, binding, missing, categories)


def _shared(
    world: World,
    memory: HostMemory,
    binding: Binding,
    missing: str,
    categories: Mapping[str, Sequence[str]] | None,
) -> tuple[Found, str]:
    arrays: dict[str, NDArray[Any]] | None = None
    facts: dict[str, Any] = {}
    barrier = open_segment(world, memory.group, 64).barrier
    with together(world):
        try:
            if memory.leads:
                read = binding.read(missing, categories, memory.allocate)
                facts["digest"] = digest_of(read.columns)
                facts["left_out"] = read.left_out
                arrays, facts["labels"] = _split(read)
                del read
        finally:
            barrier.wait()  # asleep: waiting for messages would take the cores
    notes = world.allgather(json.dumps(facts).encode())
    facts = json.loads(notes[memory.group[0]])
    arrays = memory.share(arrays)
    rows = arrays.pop(_ROWS, None)
    columns: dict[str, Values] = {
        name: Coded(array, tuple(facts["labels"][name]))
        if name in facts["labels"]
        else array
        for name, array in arrays.items()
    }
    return Found(columns, rows, facts["left_out"]), facts["digest"]


def _split(found: Found) -> tuple[dict[str, NDArray[Any]], dict[str, Sequence[str]]]:
    """Return columns as arrays, with the labels of those that hold text."""
    arrays: dict[str, NDArray[Any]] = {}
    labels: dict[str, Sequence[str]] = {}
    for name, column in found.columns.items():
        if isinstance(column, Coded):
            arrays[name], labels[name] = column.codes, column.labels
        else:
            arrays[name] = column
    if found.rows is not None:
        arrays[_ROWS] = np.asarray(found.rows)
    return arrays, labels
