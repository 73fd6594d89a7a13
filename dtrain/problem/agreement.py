"""Set-up that all ranks do together: every phase ends in one verdict for all ranks."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from dtrain.errors import MismatchError, UsageError
from dtrain.tracing.expand import expand
from dtrain.tracing.fingerprint import fingerprint
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import CONSTANT
from dtrain.tracing.printing import formula
from dtrain.worlds.verdict import differing_parts, mark_agreed
from dtrain.worlds.world import World

_SHOWN = 10_000
"""Numbers of a constant that ranks exchange to show a difference."""


@contextmanager
def together(world: World) -> Iterator[None]:
    """Run set-up code that may fail on some ranks: all ranks continue, or all raise.

    Running out of memory counts as a usage error: the user asked for too much.
    """
    try:
        yield
    except MemoryError as error:
        world.agree(UsageError(f"there is not enough memory: {error}".rstrip(": ")))
        raise  # not reached: `agree` raises where a rank brings an error
    except Exception as error:
        world.agree(error)
        raise  # not reached, for the same reason
    world.agree(None)


def compare_programs(world: World, graph: FlowGraph, what: str = "program") -> None:
    """Check that all ranks have the same graph; compare nodes only where they differ.

    Args:
        world: the ranks.
        graph: this rank's graph.
        what: the graph's name in a message.

    Raises:
        MismatchError: on every rank, naming the first node that differs and its lines.
    """
    try:
        world.compare(what, fingerprint(graph))
    except MismatchError as error:
        graph = expand(graph)
        sums = [zlib.crc32(node.identity) for node in graph.nodes]
        gathered = world.allgather(np.array(sums, np.uint32).tobytes())
        rank = error.rank or 0
        other = gathered.index(Counter(gathered).most_common(1)[0][0])
        each = [np.frombuffer(gathered[i], np.uint32) for i in (rank, other)]
        shorter = min(map(len, each))
        unequal = np.flatnonzero(each[0][:shorter] != each[1][:shorter])
        first = int(unequal[0]) if unequal.size else shorter
        notes = [json.loads(note) for note in world.allgather(_node_text(graph, first))]
        if gathered[rank] != gathered[other]:
            values = [notes[rank][1], notes[other][1]]
            shown = differing_parts(values, values[1])
            texts = [
                notes[i][0] + (f" with values {shown[notes[i][1]]}" * bool(notes[i][1]))
                for i in (rank, other)
            ]
            found = MismatchError(
                f"{error}; the first node that differs: {texts[0]} on rank {rank}, "
                f"{texts[1]} on rank {other}"
            )
            raise mark_agreed(found, rank) from None
        raise


def _node_text(graph: FlowGraph, number: int) -> bytes:
    """Return a node with its line, and a constant's values, as JSON."""
    if number >= len(graph.nodes):
        return json.dumps(["none", ""]).encode()
    node = graph.nodes[number]
    what, values = formula(graph, node), ""
    if node.function is CONSTANT and node.constant is not None:
        constant = np.asarray(node.constant)
        if node.shape == ():
            what += f" {constant.item()!r}"
        elif constant.size <= _SHOWN:
            values = str(constant.reshape(-1).tolist())
    elif not node.inputs:
        what += f" {node.name!r}"
    text = f"{what} of shape {node.shape} at {node.source}"
    return json.dumps([text, values]).encode()
