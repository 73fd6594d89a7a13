"""Print a flow graph as text, one line for each node."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from dtrain.functions.shape import Index, Slices
from dtrain.tracing.bounds import text
from dtrain.tracing.node import Node, Wiring

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_LEAVES = ("input", "weight", "scalars", "constant")
# The contractions that a matrix product writes, by their labels.
_MATRIX_PRODUCTS = ("ij,j->i", "ij,jk->ik", "i,ij->j", "i,i->")


def lines(graph: Wiring) -> Iterator[str]:
    """Return a summary line and one for each node; scalars are written inline."""
    functions = sum(node.function.name not in _LEAVES for node in graph.nodes)
    yield (
        f"{graph.name}({', '.join(graph.inputs)}) -> {', '.join(graph.outputs)}: "
        f"{counted(len(graph.specs), 'weight')}, {counted(functions, 'function')}, "
        f"{counted(len(graph.levels), 'level')}"
    )
    shown = [i for i, node in enumerate(graph.nodes) if not _inline(node)]
    names = {i: label(graph, i) for i in shown}
    width = max((len(name) for name in names.values()), default=0)
    shapes = max((len(str(graph.nodes[i].shape)) for i in shown), default=0)
    for i in shown:
        node = graph.nodes[i]
        yield f"  {names[i]:{width}}  {node.shape!s:{shapes}}  {formula(graph, node)}"


def label(graph: Wiring, number: int) -> str:
    """Return a node's label: its name, its number, or the value of a scalar."""
    node = graph.nodes[number]
    if _inline(node):
        return f"{node.constant:.6g}"
    return node.name or str(number)


def formula(graph: Wiring, node: Node) -> str:
    """Return the function applied to its inputs."""
    function, xs = node.function.name, [label(graph, i) for i in node.inputs]
    if function == "weight" and "bounds" in node.keywords:
        return f"weight {text(node.keywords['bounds'])}"
    if function in _LEAVES:
        return function
    if node.function.infix:
        return f"{xs[0]} {node.function.infix} {xs[1]}"
    if function == "negative":
        return f"-{xs[0]}"
    params = node.keywords
    if function == "contract":
        letters = [
            "".join(chr(ord("i") + label) for label in labels)
            for labels in params["labels"]
        ]
        signature = f"{letters[0]},{letters[1]}->{letters[2]}"
        if params.get("over_block"):
            return f"block_sum({', '.join(xs)}; {signature})"
        if signature in _MATRIX_PRODUCTS:
            return f"{xs[0]} @ {xs[1]}"
        return f"contract({', '.join(xs)}; {signature})"
    if function == "index":
        return f"{xs[0]}[{index_text(params['at'])}]"
    if function == "place":
        parts = (
            f"{x} at [{index_text(at)}]" for x, at in zip(xs, params["at"], strict=True)
        )
        return f"place({', '.join(parts)})"
    given = [f"{key}={value}" for key, value in params.items()]
    return f"{function}({', '.join(xs + given)})"


def _inline(node: Node) -> bool:
    return node.constant is not None and node.shape == ()


def index_text(at: Index) -> str:
    """Return an index as it is written in brackets."""
    if not isinstance(at, Slices):
        return f"{at.key.size} places"
    return ", ".join(
        str(key.start) if length == 1 else _slice(key)
        for key, (_, length, _) in zip(at.key, at.axes, strict=True)
    )


def _slice(key: slice) -> str:
    stop = "" if key.stop is None else key.stop
    return f"{key.start}:{stop}" + (f":{key.step}" if key.step != 1 else "")


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return names separated by commas; of many, the first ones and the number left."""
    text = ", ".join(names[:most])
    return text + (f" and {len(names) - most} more" if len(names) > most else "")


def counted(number: int, noun: str) -> str:
    """Return a number and a noun, in the plural unless the number is 1.

    >>> counted(1, "path"), counted(2**12, "path"), counted(2**1000, "path")
    ('1 path', '4,096 paths', 'about 10³⁰¹ paths')
    """
    return f"{numeral(number)} {noun}" + ("" if number == 1 else "s")


def numeral(number: int) -> str:
    """Return a number's digits, or its power of ten if it has more than 20."""
    if number < 10**20:
        return f"{number:,}"
    return "about 10" + str(round(math.log10(number))).translate(SUPERSCRIPTS)
