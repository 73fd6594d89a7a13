"""Set-up that all ranks do together: every phase ends in one verdict for all ranks."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from dtrain.errors import MismatchError, UsageError
from dtrain.tracing.expand import expand
from dtrain.tracing.graph import CONSTANT, FlowGraph
from dtrain.tracing.printing import formula, label
from dtrain.worlds.verdict import mark_agreed
from dtrain.worlds.world import World


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


def compare_programs(world: World, graph: FlowGraph) -> None:
    """Check that all ranks have the same program; compare nodes only where they differ.

    Raises:
        MismatchError: on every rank, naming the first node that differs and its lines.
    """
    try:
        world.compare("program", graph.fingerprint)
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
        texts = [text.decode() for text in world.allgather(_node_text(graph, first))]
        if gathered[rank] != gathered[other]:
            found = MismatchError(
                f"{error}; the first node that differs: {texts[rank]} on rank {rank}, "
                f"{texts[other]} on rank {other}"
            )
            raise mark_agreed(found, rank) from None
        raise


def _node_text(graph: FlowGraph, number: int) -> bytes:
    """Describe a node and the line that made it, for a person."""
    if number >= len(graph.nodes):
        return b"none"
    node = graph.nodes[number]
    what = formula(graph, node)
    if node.function is CONSTANT:
        what += f" {label(graph, number)}" if node.shape == () else ""
    elif not node.inputs:
        what += f" {node.name!r}"
    return f"{what} of shape {node.shape} at {node.source}".encode()
