"""Write a flow graph in the language of Graphviz."""

from __future__ import annotations

import json

from dtrain.drawing.layout import drawn, drawn_edges
from dtrain.drawing.notation import name
from dtrain.drawing.svg import formula
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import INPUT, WEIGHT

_STYLES = {INPUT: 'style="rounded"', WEIGHT: 'style="filled" fillcolor="#efe7fd"'}


def dot(graph: FlowGraph) -> str:
    """Return the graph as text for ``dot``, from left to right."""
    lines = [
        f"digraph {_quoted(graph.name)} {{",
        '  rankdir="LR"',
        '  node [shape="box" fontname="monospace"]',
    ]
    for number in drawn(graph):
        node = graph.nodes[number]
        shape = [str(node.shape)] if node.shape else []
        label = "\n".join([name(graph, number), formula(graph, number), *shape])
        output = "peripheries=2" if number in graph.outputs.values() else ""
        style = _STYLES.get(node.function, "")
        attributes = " ".join(filter(None, (f"label={_quoted(label)}", style, output)))
        lines.append(f"  {number} [{attributes}]")
    for edge in drawn_edges(graph):
        lines.append(f"  {graph.nodes[edge.node].inputs[edge.input]} -> {edge.node}")
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
