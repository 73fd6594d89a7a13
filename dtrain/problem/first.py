"""The first weights of a run: drawn, given, or some of them given."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from dtrain.data.digest import digest
from dtrain.errors import UsageError, did_you_mean, listing
from dtrain.gradient.layout import Layout
from dtrain.gradient.vector import Weights
from dtrain.problem.agreement import together
from dtrain.problem.differences import compare_arrays
from dtrain.problem.samples import named_weights
from dtrain.tracing.bounds import check_given
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.printing import counted, listed
from dtrain.tracing.weights import draw
from dtrain.worlds.world import World

LOG = logging.getLogger("dtrain")


def first_weights(
    world: World, graph: FlowGraph, layout: Layout, seed: int, weights: Any
) -> Weights:
    """Return the first weights, the same bits on every rank; collective.

    Args:
        world: the ranks.
        graph: the program's graph.
        layout: of the weights.
        seed: of the initialisers' draws.
        weights: values by name, a `Run` or a path; those that it has no value for are
            drawn. ``None`` to draw all.

    Raises:
        UsageError: the values do not fit, or are outside the weights' bounds;
        MismatchError: ranks were given others.
    """
    with together(world):
        first = Weights(layout)
        values = {} if weights is None else _known(graph, named_weights(weights))
        drawn = sorted(set(layout.shapes) - set(values))
        rest = draw(graph, seed, str(layout.dtype)) if drawn else {}
        first.assign({**rest, **values})
        check_given(graph.specs, values)
        first.project()  # a bound may have been rounded
        given = {name: first.values[name] for name in sorted(values)}
    compare_arrays(world, "first weights", digest(given), given, "weight")
    if given and drawn and world.rank == 0:
        LOG.info(
            "%s of %d have given values: %s; the others are drawn: %s",
            counted(len(given), "weight"),
            len(layout.shapes),
            listed(list(given)),
            listed(drawn),
        )
    world.broadcast(first.flat)  # hosts with another libm draw other values
    return first


def _known(graph: FlowGraph, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given values, if the program has a weight for each.

    Raises:
        UsageError: naming the value that it has no weight for, and a similar name.
    """
    names = sorted(graph.specs)
    for name in sorted(set(values) - set(names)):
        raise UsageError(
            f"weight {name!r} is no weight of the program; the program has "
            f"{listing(names)}{did_you_mean(name, names)}"
        )
    if not values:
        raise UsageError(
            f"no weight has a given value; the program has {listing(names)}"
        )
    return {name: np.asarray(value) for name, value in values.items()}
