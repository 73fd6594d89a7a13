"""Write an explanation as text: forward by levels, backward, sums over paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.drawing.layout import levels
from dtrain.drawing.notation import Reference, name, number_text, text
from dtrain.drawing.svg import formula
from dtrain.explain.explanation import Explanation
from dtrain.gradient.paths import Path
from dtrain.tracing.printing import counted


def lines(explanation: Explanation) -> Iterator[str]:
    """Yield the lines of the explanation."""
    graph, end = explanation.graph, explanation.end
    output = name(graph, end)
    yield "forward"
    rows = [
        (f"level {level}", name(graph, i), formula(graph, i), explanation.values[i])
        for i, level in sorted(levels(graph).items(), key=lambda item: item[::-1])
    ]
    yield from _table(rows)
    yield ""
    meaning = f"∂{output}/∂X" if explanation.values[end].ndim == 0 else f"∂Σ{output}/∂X"
    yield f"backward, v_X = {meaning}"
    yield from _table(
        [
            (
                "",
                f"v_{name(graph, i)}",
                text(explanation.adjoint_parts(i), lambda r: written(explanation, r)),
                explanation.adjoints[i],
            )
            for i in sorted(explanation.adjoints, reverse=True)
        ]
    )
    yield ""
    yield "sums over paths"
    for weight in graph.weights:
        yield from _paths(explanation, weight)


def written(explanation: Explanation, reference: Reference) -> str:
    """Return the name of a value or an adjoint."""
    called = name(explanation.graph, reference.node)
    return called if reference.kind == "x" else f"v_{called}"


def summary(value: NDArray[Any]) -> str:
    """Return a number with all its digits; for an array, its shape and range."""
    if value.ndim == 0:
        return repr(value.item())
    if value.size == 0:
        return f"{value.shape}, no elements"
    if value.size <= 3:
        return "[" + " ".join(number_text(float(x)) for x in value.flat) + "]"
    low, high, mean = (number_text(float(f(value))) for f in (np.min, np.max, np.mean))
    if low == high:
        return f"{value.shape} all {low}"
    return f"{value.shape} from {low} to {high}, mean {mean}"


def steps(explanation: Explanation, weight: str, path: Path) -> str:
    """Return the names of a path's nodes, from the weight to the output."""
    names = [weight, *(name(explanation.graph, edge.node) for edge in path)]
    return " → ".join(names)


def _table(rows: list[tuple[str, str, str, NDArray[Any]]]) -> Iterator[str]:
    names = max(len(row[1]) for row in rows)
    formulas = min(max(len(row[2]) for row in rows), 48)
    before = ""
    for level, called, how, value in rows:
        start = f"{level if level != before else '':8}  " if level else ""
        before = level
        yield f"  {start}{called:{names}}  = {how:{formulas}}  = {summary(value)}"


def _paths(explanation: Explanation, weight: str) -> Iterator[str]:
    count = explanation.point.paths.count(explanation.graph.weights[weight])
    paths = explanation.paths[weight]
    yield f"  {weight}: {counted(count, 'path')}" + (
        f", {paths}" if isinstance(paths, str) else ""
    )
    total = np.zeros(explanation.gradient(weight).shape)
    for path in () if isinstance(paths, str) else paths:
        product = explanation.product(path)
        total = total + product
        yield f"    {steps(explanation, weight, path)}  {summary(product)}"
    if count and not isinstance(paths, str):
        yield f"    sum of the paths   {summary(total)}"
    yield f"    back-propagation   {summary(explanation.gradient(weight))}"
