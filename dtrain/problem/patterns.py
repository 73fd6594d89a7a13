"""Patterns of the names of weights, such as ``encoder.*``."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from dtrain.errors import UsageError, did_you_mean
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.printing import listed


def matching(patterns: Sequence[str], graph: FlowGraph, option: str) -> frozenset[str]:
    """Return the names of the weights that patterns match, as in a shell.

    Raises:
        UsageError: a pattern matches no weight.
    """
    found: set[str] = set()
    for pattern in patterns:
        names = fnmatch.filter(graph.weights, pattern)
        if not names:
            raise UsageError(
                f"{option}: no weight of {graph.name} matches {pattern!r}; there are "
                f"{listed(list(graph.weights))}{did_you_mean(pattern, graph.weights)}"
            )
        found.update(names)
    return frozenset(found)
