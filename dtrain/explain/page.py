"""Write an explanation as one self-contained HTML page, without any requests."""

from __future__ import annotations

import json
import re
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.drawing.layout import Layout, drawn, layout, levels
from dtrain.drawing.notation import Parts, applied, name, number_text
from dtrain.drawing.svg import (
    DARK,
    LIGHT,
    STYLE,
    Lines,
    box_lines,
    box_size,
    check_size,
    figure,
    formula,
)
from dtrain.explain import text
from dtrain.explain.explanation import Explanation
from dtrain.explain.javascript import Translation, Untranslated, table
from dtrain.explain.pieces import value
from dtrain.gradient.paths import Edge, Path
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import WEIGHT
from dtrain.tracing.printing import numeral

_VALUE, _ADJOINT = "−1.234e−05", "v −1.234e−05"  # the widest texts to make room for
_LABEL, _PORT = 80.0, 32.0  # the width and height of an edge's label


def page(explanation: Explanation) -> str:
    """Return the page as HTML text.

    Raises:
        UsageError: the graph has too many nodes to be drawn.
    """
    check_size(explanation.graph)
    here = files("dtrain.explain")
    html = (here / "page.html").read_text("utf-8")  # with {{name}} for each part
    parts = {
        "title": escape(_title(explanation.graph)),
        "style": f":root {{ {LIGHT} }}\n@media (prefers-color-scheme: dark) "
        f"{{ :root {{ {DARK} }} }}\n{STYLE}" + (here / "page.css").read_text("utf-8"),
        "graph": _graph(explanation),
        "data": _data(explanation),
        "script": (here / "sliders.js").read_text("utf-8")
        + (here / "page.js").read_text("utf-8"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], html)


def _title(graph: FlowGraph) -> str:
    return f"{graph.name}({', '.join(graph.inputs)})"


def _graph(explanation: Explanation) -> str:
    """Return the drawing, with room for the values and adjoints of the script."""
    graph = explanation.graph
    lines: dict[int, Lines] = {i: box_lines(graph, i) for i in drawn(graph)}
    wide: dict[int, Lines] = {
        i: [*rows, ("x", _VALUE), ("v", _ADJOINT)] for i, rows in lines.items()
    }
    sizes = {
        i: box_size(graph, i, rows, port=_PORT, labels=_LABEL)
        for i, rows in wide.items()
    }
    placed = layout(graph, sizes)

    def attributes(number: int) -> str:
        if graph.nodes[number].function is not WEIGHT:
            return ""
        label = escape(f"weight {name(graph, number)}: show its paths", quote=True)
        return f' tabindex="0" role="button" aria-pressed="false" aria-label="{label}"'

    return figure(
        graph,
        placed,
        {i: [*rows, ("x", ""), ("v", "")] for i, rows in lines.items()},
        edge_labels=lambda edge: _edge_label(placed, edge),
        attributes=attributes,
    )


def _edge_label(placed: Layout, edge: Edge) -> str:
    _, x, y = placed.edges[edge][-1]
    return "".join(
        f'<text class="{kind}" text-anchor="end" x="{x - 11:.1f}" y="{y + dy:.1f}"/>'
        for kind, dy in (("x", -5), ("v", 13))
    )


def _data(explanation: Explanation) -> str:
    """Return the data of the script: PROGRAM, and COMPUTE for moved sliders."""
    graph = explanation.graph
    level = levels(graph)
    program = {
        "output": name(graph, explanation.end),
        "end": explanation.end,
        "scalarOutput": explanation.values[explanation.end].ndim == 0,
        "inputs": [[key, number] for key, number in graph.inputs.items()],
        "nodes": {
            number: {
                "name": name(graph, number),
                "level": level[number],
                "leaf": not graph.nodes[number].inputs,
                "formula": formula(graph, number),
                "parts": _parts(applied(graph, number)),
                "doc": graph.nodes[number].function.doc,
                "value": _value(explanation.values[number]),
            }
            for number in drawn(graph)
        },
        "adjoints": [
            {
                "node": number,
                "value": _value(explanation.adjoints[number]),
                "parts": _parts(explanation.adjoint_parts(number)),
                "edges": [_key(edge) for edge in explanation.arriving(number)],
            }
            for number in sorted(explanation.adjoints, reverse=True)
        ],
        "passed": {
            _key(edge): _value(value) for edge, value in explanation.passed.items()
        },
        "weights": [_weight(explanation, key) for key in graph.weights],
    }
    code, why = _code(explanation)
    return f"const PROGRAM = {_json({**program, 'why': why})};\n{code}"


def _weight(explanation: Explanation, weight: str) -> dict[str, Any]:
    number = explanation.graph.weights[weight]
    paths, gradient = explanation.paths[weight], explanation.gradient(weight)
    found: dict[str, Any] = {
        "name": weight,
        "node": number,
        "count": numeral(explanation.point.paths.count(number)),
        "gradient": _value(gradient),
        "paths": None,
    }
    if isinstance(paths, str):
        found["why"] = paths
    else:
        products = [explanation.product(path) for path in paths]
        total = sum(products, np.zeros(gradient.shape))
        found["sum"] = _value(np.asarray(total))
        found["paths"] = [
            {**_path(explanation, weight, path), "product": _value(product)}
            for path, product in zip(paths, products, strict=True)
        ]
    return found


def _path(explanation: Explanation, weight: str, path: Path) -> dict[str, Any]:
    return {
        "edges": [_key(edge) for edge in path],
        "steps": text.steps(explanation, weight, path),
    }


def _code(explanation: Explanation) -> tuple[str, str]:
    """Return functions for values and adjoints, or the reason why there are none."""
    none = "const COMPUTE = null;\n"
    if not explanation.scalar:
        return none, "This program has arrays; only programs of scalars have sliders."
    graph, translation = explanation.graph, Translation()
    try:
        forward = {
            str(number): translation.arrow(value(graph, number))
            for number, node in enumerate(graph.nodes)
            if node.inputs
        }
        back = {
            _key(edge): translation.arrow(transfer)
            for edge, transfer in explanation.transfers.items()
        }
    except Untranslated as error:
        return none, f"No sliders: {error} has no translation to JavaScript."
    return (
        table(translation.used) + f"const COMPUTE = {{\n forward: {_object(forward)},\n"
        f" back: {_object(back)}\n}};\n"
    ), ""


def _object(entries: dict[str, str]) -> str:
    return (
        "{\n" + "".join(f'  "{key}": {code},\n' for key, code in entries.items()) + " }"
    )


def _key(edge: Edge) -> str:
    return f"{edge.node}:{edge.input}"


def _parts(parts: Parts) -> list[Any]:
    return [part if isinstance(part, str) else list(part) for part in parts]


def _value(value: NDArray[Any]) -> Any:
    """Return a number, or an array's short text for edges and its full text."""
    if value.ndim == 0:
        return value.item()
    if value.size <= 2:
        short = "[" + " ".join(number_text(float(x), 2) for x in value.flat) + "]"
    else:
        short = f"‖{number_text(float(np.linalg.norm(value)))}‖"
    return {"short": short, "long": text.summary(value)}


def _json(value: Any) -> str:
    """Return a JavaScript literal that is safe inside HTML."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")
