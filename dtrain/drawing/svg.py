"""Draw a flow graph as SVG, without other programs."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from dtrain.drawing.layout import Layout, Size, drawn, layout
from dtrain.drawing.notation import applied, name, text
from dtrain.errors import UsageError
from dtrain.gradient.paths import Edge
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import CONSTANT, INPUT, WEIGHT

Lines = list[tuple[str, str]]
"""The lines of text in a box: the class and the text of each."""

LARGEST = 600
"""Graphs with more nodes are not drawn: the drawing would be unreadable."""

_CHARACTER = 7.25  # the width of a character at 12 pixels in a monospaced font
_LINE = 17.0
_LONGEST = 26  # characters of a formula in a box; the tooltip has all of it

STYLE = """\
.graph { font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
.graph text { fill: var(--ink); }
.graph rect { fill: var(--box); stroke: var(--line); stroke-width: 1.25; }
.graph .weight rect { fill: var(--weight); stroke: var(--weight-line); }
.graph .input rect { fill: var(--input); stroke: var(--input-line); }
.graph .output rect { stroke: var(--ink); stroke-width: 2; }
.graph .name { font-weight: 700; font-size: 13px; }
.graph .formula { fill: var(--soft); }
.graph .edge path { fill: none; stroke: var(--line); stroke-width: 1.5; }
.graph .edge .head { fill: var(--line); stroke: none; }
"""
LIGHT = """\
--paper: #ffffff; --ink: #1b1f24; --soft: #57606a; --line: #8c959f; --box: #ffffff;
--weight: #efe7fd; --weight-line: #7c4dcc; --input: #eef1f4; --input-line: #8c959f;"""
DARK = """\
--paper: #14171c; --ink: #e8ebef; --soft: #a2abb6; --line: #6b7683; --box: #1d2229;
--weight: #35274f; --weight-line: #b594f5; --input: #272d36; --input-line: #7d8894;"""


def check_size(graph: FlowGraph) -> None:
    """Check that a graph is small enough to be drawn.

    Raises:
        UsageError: the graph has too many nodes.
    """
    count = len(drawn(graph))
    if count > LARGEST:
        raise UsageError(
            f"the flow graph of {graph.name} has {count:,} nodes; a drawing of more "
            f"than {LARGEST} would be unreadable. `dtrain show` prints the graph and "
            "--dot writes it for Graphviz; `dtrain explain` without --html prints its "
            "values. Or draw a program with fewer steps or units"
        )


def drawing(graph: FlowGraph) -> str:
    """Return a graph as a complete SVG file, in light and dark colours.

    Raises:
        UsageError: the graph has too many nodes to be drawn.
    """
    check_size(graph)
    lines = {number: box_lines(graph, number) for number in drawn(graph)}
    sizes = {
        number: box_size(graph, number, lines[number], port=12.0)
        for number in drawn(graph)
    }
    placed = layout(graph, sizes)
    style = (
        f"<style>\n.graph {{ {LIGHT} background: var(--paper); }}\n"
        f"@media (prefers-color-scheme: dark) {{ .graph {{ {DARK} }} }}\n"
        f"{STYLE}</style>\n"
    )
    return figure(graph, placed, lines, before=style)


def box_lines(graph: FlowGraph, number: int) -> Lines:
    """Return the text of a node's box: name, formula and, for an array, shape."""
    shape = graph.nodes[number].shape
    lines = [("name", name(graph, number)), ("formula", formula(graph, number))]
    return [*lines, ("formula", str(shape))] if shape else lines


def formula(graph: FlowGraph, number: int) -> str:
    """Return a node's function applied to its inputs; for a leaf, its kind."""
    node = graph.nodes[number]
    if not node.inputs:
        return node.function.name
    return text(applied(graph, number), lambda r: name(graph, r.node))


def box_size(
    graph: FlowGraph, number: int, lines: Lines, *, port: float, labels: float = 0.0
) -> Size:
    """Return the size of a node's box.

    Args:
        graph: the graph.
        number: the node's number.
        lines: the text in the box.
        port: the height needed for each edge that ends at the box.
        labels: the width of the labels of these edges.
    """
    longest = max(len(shortened(line)) for _, line in lines)
    arriving = len(graph.nodes[number].inputs)
    return Size(
        max(longest * _CHARACTER + 20, 56.0),
        max(len(lines) * _LINE + 12, arriving * port),
        labels if arriving else 0.0,
    )


def shortened(line: str) -> str:
    """Return a formula, shortened to fit into a box."""
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def figure(
    graph: FlowGraph,
    placed: Layout,
    lines: dict[int, Lines],
    *,
    before: str = "",
    edge_labels: Callable[[Edge], str] | None = None,
    attributes: Callable[[int], str] = lambda number: "",  # noqa: ARG005
) -> str:
    """Return an <svg> element of a graph.

    Args:
        graph: the graph.
        placed: the layout of the graph.
        lines: the text in each box, beginning with its name and its formula.
        before: text to insert at the start of the element.
        edge_labels: returns more elements for an edge.
        attributes: returns more attributes for a node.
    """
    width, height = round(placed.width), round(placed.height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="graph" role="group" '
        f'aria-label="flow graph of {escape(graph.name)}" width="{width}" '
        f'height="{height}" viewBox="0 0 {width} {height}" '
        f'style="--width: {width}px">\n{before}'
    ]
    for edge, points in placed.edges.items():
        source = graph.nodes[edge.node].inputs[edge.input]
        extra = edge_labels(edge) if edge_labels else ""
        end, y = points[-1][1], points[-1][2]
        head = f"M{end:.1f} {y:.1f}l-7 -3.5v7z"
        parts.append(
            f'<g class="edge" data-edge="{edge.node}:{edge.input}" '
            f'data-source="{source}"><path d="{_curve(points)}"/>'
            f'<path class="head" d="{head}"/>{extra}</g>\n'
        )
    for number, (left, top, right, bottom) in placed.boxes.items():
        parts.append(
            f'<g class="{_classes(graph, number)}" data-node="{number}"'
            f"{attributes(number)}>"
            f"<title>{escape(f'{lines[number][0][1]} = {lines[number][1][1]}')}</title>"
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{bottom - top:.1f}" rx="{_radius(graph, number)}"/>'
            + _texts(lines[number], (left + right) / 2, (top + bottom) / 2)
            + "</g>\n"
        )
    return "".join(parts) + "</svg>\n"


def _texts(lines: Lines, x: float, middle: float) -> str:
    """Return the lines of a box, centred at a height."""
    first = middle - (len(lines) - 1) * _LINE / 2 + 4
    return "".join(
        f'<text class="{row}" text-anchor="middle" x="{x:.1f}" '
        f'y="{first + i * _LINE:.1f}">{escape(shortened(line))}</text>'
        for i, (row, line) in enumerate(lines)
    )


def _curve(points: list[tuple[float, float, float]]) -> str:
    """Return the path of an edge: straight through each level, curved between."""
    start, end, y = points[0]
    path = f"M{start:.1f} {y:.1f}H{end:.1f}"
    for left, right, below in points[1:]:
        middle = (end + left) / 2
        if f"{y:.1f}" != f"{below:.1f}":
            path += f"C{middle:.1f} {y:.1f} {middle:.1f} {below:.1f} "
            path += f"{left:.1f} {below:.1f}"
        path += f"H{right:.1f}"
        end, y = right, below
    return path


def _classes(graph: FlowGraph, number: int) -> str:
    kinds = {INPUT: "input", WEIGHT: "weight", CONSTANT: "constant"}
    kind = kinds.get(graph.nodes[number].function, "function")
    return f"node {kind}" + (" output" if number in graph.outputs.values() else "")


def _radius(graph: FlowGraph, number: int) -> int:
    return (
        6
        if graph.nodes[number].inputs or graph.nodes[number].function is WEIGHT
        else 18
    )
