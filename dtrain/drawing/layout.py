"""Lay out a flow graph for drawing: levels from left to right.

A node's level is the length of the longest path to it from the inputs; a weight stands
in the level before its first reader. An edge that crosses levels has a lane in each of
them, shared with the other edges from its source, so no edge crosses a node. Heights
are a least-squares fit that keeps the order in a level (`dtrain.drawing.ordering`).
Nothing is random, so a graph always has the same drawing.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dtrain.drawing.ordering import Spot, ordered
from dtrain.gradient.paths import Edge
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import INPUT

LEVEL_GAP, NODE_GAP = 36.0, 20.0
_LANE = 10.0  # the height of a lane
_SWEEPS = 12
_STRAIGHT = 8.0  # the weight of a lane in the fit, where a node has 1: straight edges


class Size(NamedTuple):
    """The size of a node's box, and the width of its edges' labels, in pixels."""

    width: float
    height: float
    labels: float = 0.0


@dataclass(frozen=True)
class Layout:
    """The geometry of a drawing, in pixels from its upper left corner.

    Attributes:
        boxes: the left, upper, right and lower side of each drawn node, by number.
        edges: the route of each edge as segments (left, right, height): horizontal
            inside a segment, curved from one segment to the next. The edge's label
            stands on the last segment.
        width: the width of the drawing.
        height: the height of the drawing.
    """

    boxes: dict[int, tuple[float, float, float, float]]
    edges: dict[Edge, list[tuple[float, float, float]]]
    width: float
    height: float


def drawn(graph: FlowGraph) -> list[int]:
    """Return the nodes that are drawn: all but scalar constants, shown in formulas."""
    return [
        number
        for number, node in enumerate(graph.nodes)
        if node.constant is None or node.shape != ()
    ]


def drawn_edges(graph: FlowGraph) -> list[Edge]:
    """Return the edges between drawn nodes."""
    there = set(drawn(graph))
    return [
        Edge(number, index)
        for number in sorted(there)
        for index, i in enumerate(graph.nodes[number].inputs)
        if i in there
    ]


def levels(graph: FlowGraph) -> dict[int, int]:
    """Return the level of each drawn node."""
    nodes, level = graph.nodes, dict.fromkeys(drawn(graph), 0)
    first_reader: dict[int, int] = {}
    for number in level:
        inputs = [i for i in nodes[number].inputs if i in level]
        level[number] = 1 + max((level[i] for i in inputs), default=-1)
        for i in inputs:
            first_reader[i] = min(level[number], first_reader.get(i, level[number]))
    for number in level:
        if not nodes[number].inputs and nodes[number].function is not INPUT:
            level[number] = first_reader.get(number, 1) - 1
    return level


def layout(graph: FlowGraph, sizes: dict[int, Size]) -> Layout:
    """Lay out the drawn nodes and edges of a graph.

    Args:
        graph: any flow graph.
        sizes: the size of each drawn node.
    """
    level = levels(graph)
    routes = {
        edge: _route(graph.nodes[edge.node].inputs[edge.input], edge.node, level)
        for edge in drawn_edges(graph)
    }
    links = sorted({pair for route in routes.values() for pair in _pairs(route)})
    spots = sorted({*level.items(), *itertools.chain.from_iterable(links)})
    order = ordered(spots, links)
    ports = _ports(routes, order, sizes)
    heights = _heights(order, routes, ports, sizes, level)
    return _geometry(order, routes, ports, heights, sizes, level)


def _route(source: int, target: int, level: dict[int, int]) -> list[Spot]:
    """Return the spots that an edge connects: its source, its lanes, its target."""
    lanes = [(source, at) for at in range(level[source], level[target])]
    return [*lanes, (target, level[target])]


def _pairs(route: Sequence[Spot]) -> list[tuple[Spot, Spot]]:
    return list(itertools.pairwise(route))


def _ports(
    routes: dict[Edge, list[Spot]], order: list[list[Spot]], sizes: dict[int, Size]
) -> dict[Edge, float]:
    """Return how far below its target's middle each edge ends."""
    position = {spot: i for row in order for i, spot in enumerate(row)}
    arriving = defaultdict[int, list[Edge]](list)
    for edge in routes:
        arriving[edge.node].append(edge)
    ports = {}
    for number, edges in arriving.items():
        edges.sort(key=lambda edge: (position[routes[edge][-2]], edge.input))
        step = sizes[number].height / len(edges)
        for i, edge in enumerate(edges):
            ports[edge] = (i - (len(edges) - 1) / 2) * step
    return ports


def _heights(
    order: list[list[Spot]],
    routes: dict[Edge, list[Spot]],
    ports: dict[Edge, float],
    sizes: dict[int, Size],
    level: dict[int, int],
) -> dict[Spot, float]:
    """Return the height of each spot's middle: near its neighbours, without overlap."""
    left, right = (defaultdict[Spot, list[tuple[Spot, float]]](list) for _ in "lr")
    for edge, route in routes.items():
        for a, b in _pairs(route):
            port = ports[edge] if b == route[-1] else 0.0
            left[b].append((a, -port))
            right[a].append((b, port))
    extent = {
        spot: sizes[spot[0]].height + NODE_GAP if level[spot[0]] == spot[1] else _LANE
        for row in order
        for spot in row
    }
    y: dict[Spot, float] = {}
    for row in order:
        _spread(row, [0.0] * len(row), [1.0] * len(row), extent, y)
    weight = {
        spot: 1.0 if level[spot[0]] == spot[1] else _STRAIGHT
        for row in order
        for spot in row
    }
    for sweep in range(_SWEEPS):
        side = (left, right)[sweep % 2]
        for row in order if side is left else order[::-1]:
            ideal = [
                sum(y[other] + shift for other, shift in side[spot]) / len(side[spot])
                if side[spot]
                else y[spot]
                for spot in row
            ]
            _spread(row, ideal, [weight[spot] for spot in row], extent, y)
    return y


def _spread(
    row: Sequence[Spot],
    ideal: Sequence[float],
    weights: Sequence[float],
    extent: dict[Spot, float],
    y: dict[Spot, float],
) -> None:
    """Set heights in the given order, closest to the ideal ones, without overlap.

    Each height minus the extents above it must not decrease. This is isotonic
    regression, solved by pooling adjacent violators (Ayer et al., 1955).
    """
    shifts, below = [], 0.0
    for spot in row:
        shifts.append(below + extent[spot] / 2)
        below += extent[spot]
    pools: list[tuple[float, float, int]] = []  # weight, mean, members
    for height, weight, shift in zip(ideal, weights, shifts, strict=True):
        pool = (weight, height - shift, 1)
        while pools and pools[-1][1] > pool[1]:
            w, mean, members = pools.pop()
            total = w + pool[0]
            pool = (total, (w * mean + pool[0] * pool[1]) / total, members + pool[2])
        pools.append(pool)
    means = [mean for _, mean, members in pools for _ in range(members)]
    for spot, mean, shift in zip(row, means, shifts, strict=True):
        y[spot] = mean + shift


def _geometry(
    order: list[list[Spot]],
    routes: dict[Edge, list[Spot]],
    ports: dict[Edge, float],
    y: dict[Spot, float],
    sizes: dict[int, Size],
    level: dict[int, int],
) -> Layout:
    """Return the geometry: one column for each level, wide enough for its boxes."""
    real = [[n for n, at in row if level[n] == at] for row in order]
    top = min((y[n, level[n]] - sizes[n].height / 2 for n in level), default=0.0)
    top = min([top, *y.values()]) - NODE_GAP
    steep = [0.0] * (len(order) + 1)  # the tallest curve before each level
    for edge, route in routes.items():
        for a, b in _pairs(route):
            rise = abs(y[b] + (ports[edge] if b == route[-1] else 0.0) - y[a])
            steep[b[1]] = max(steep[b[1]], rise)
    columns, x = [], NODE_GAP
    for at, numbers in enumerate(real):
        if at:
            x += LEVEL_GAP + min(0.2 * steep[at], 4 * LEVEL_GAP)
        labels = max((sizes[n].labels for n in numbers), default=0.0)
        width = max((sizes[n].width for n in numbers), default=0.0)
        columns.append((x, x + labels, x + labels + width))
        x += labels + width
    boxes = {}
    for n, at in level.items():
        middle = (columns[at][1] + columns[at][2]) / 2
        half, high = sizes[n].width / 2, sizes[n].height / 2
        boxes[n] = (
            middle - half,
            y[n, at] - top - high,
            middle + half,
            y[n, at] - top + high,
        )
    edges = {}
    for edge, route in routes.items():
        (source, at), *lanes, (target, end) = route
        line = [(boxes[source][2], columns[at][2], y[source, at] - top)]
        line += [
            (columns[lane][0], columns[lane][2], y[n, lane] - top) for n, lane in lanes
        ]
        arrives = y[target, end] + ports[edge] - top
        edges[edge] = [*line, (columns[end][0], boxes[target][0], arrives)]
    bottom = max(
        [*(box[3] for box in boxes.values()), *(h - top for h in y.values())],
        default=0.0,
    )
    return Layout(boxes, edges, x + NODE_GAP, bottom + NODE_GAP)
