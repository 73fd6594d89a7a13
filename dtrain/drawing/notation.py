"""Expressions of base functions in the lecture's notation: ``v_E · W1 · (1 − E²)``.

An expression is a sequence of texts and references, so that one can be printed with
names, or with the values that these have at a point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from dtrain.functions.base import FUNCTIONS
from dtrain.functions.contraction import contract
from dtrain.functions.shape import index
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import Node
from dtrain.tracing.printing import SUPERSCRIPTS, index_text

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


class Reference(NamedTuple):
    """What stands for a node's value, ``x``, or its adjoint, ``v``."""

    kind: str
    node: int


Parts = tuple[str | Reference, ...]


class _Binding(NamedTuple):
    """An expression and how tightly it holds together."""

    parts: Parts
    strength: int


class _TooLong(Exception):
    """An expression has more than `_LONGEST` parts."""


_LONGEST = 160  # nodes that are read in many places may make it exponentially long

_COMPARISON, _SUM, _PRODUCT, _POWER, _ATOM = range(5)
_INFIX = {
    "add": ("+", _SUM, _SUM),
    "subtract": ("−", _SUM, _PRODUCT),
    "multiply": ("·", _PRODUCT, _PRODUCT),
    "divide": ("/", _PRODUCT, _POWER),
    "greater": (">", _COMPARISON, _SUM),
    "greater_equal": ("≥", _COMPARISON, _SUM),
    "less": ("<", _COMPARISON, _SUM),
    "less_equal": ("≤", _COMPARISON, _SUM),
    "equal": ("=", _COMPARISON, _SUM),
    "not_equal": ("≠", _COMPARISON, _SUM),
}
"""The sign, how tightly it holds, and how tightly its right side must."""


def name(graph: FlowGraph, number: int) -> str:
    """How a node is called: its name, or x with its number."""
    return graph.nodes[number].name or "x" + str(number).translate(_SUBSCRIPTS)


def expression(
    graph: FlowGraph, number: int, references: Mapping[int, Reference]
) -> Parts | None:
    """Return a node's value in terms of others; ``None`` if it is too long to be read.

    Args:
        graph: where the node is.
        number: the node's number.
        references: what stands for which nodes; all leaves but constants are there.
    """
    try:
        return _expression(graph, number, references).parts
    except _TooLong:
        return None


def applied(graph: FlowGraph, number: int) -> Parts:
    """Return a node's function, applied to its inputs."""
    inputs = graph.nodes[number].inputs
    references = {
        i: Reference("x", i) for i in inputs if not _written_out(graph.nodes[i])
    }
    if graph.nodes[number].function.name in _SILENT:
        xs = [_expression(graph, i, references) for i in inputs]
        return _call(graph.nodes[number].function.name, xs).parts
    short = (f"{graph.nodes[number].function.name}(…)",)
    return expression(graph, number, references) or short


def text(parts: Parts, written: Callable[[Reference], str]) -> str:
    """Return an expression as text.

    Args:
        parts: the expression.
        written: what to write for a reference.
    """
    return "".join(p if isinstance(p, str) else written(p) for p in parts)


def joined(terms: Sequence[Parts]) -> Parts:
    """Return the sum of expressions."""
    parts: list[str | Reference] = []
    for term in terms:
        if parts and isinstance(term[0], str) and term[0].startswith("−"):
            parts += [" − ", term[0][1:], *term[1:]]
        else:
            parts += [" + ", *term] if parts else term
    return tuple(part for part in parts if part != "")


def number_text(value: float, digits: int = 4) -> str:
    """Return a number with some digits and a true minus sign."""
    return f"{value:.{digits}g}".replace("-", "−")


def _written_out(node: Node) -> bool:
    return node.constant is not None and node.shape == ()


def _expression(
    graph: FlowGraph, number: int, references: Mapping[int, Reference]
) -> _Binding:
    if number in references:
        return _Binding((references[number],), _ATOM)
    node = graph.nodes[number]
    if node.constant is not None:
        if node.shape != ():
            return _Binding((f"constant {node.shape}",), _ATOM)
        value = number_text(float(node.constant), 6)
        return _Binding((value,), _SUM if value.startswith("−") else _ATOM)
    xs = [_expression(graph, i, references) for i in node.inputs]
    if sum(len(x.parts) for x in xs) > _LONGEST:
        raise _TooLong
    return _of(node, xs)


def _of(node: Node, xs: Sequence[_Binding]) -> _Binding:
    """Return a function of expressions."""
    function = node.function.name
    if FUNCTIONS.get(function) is not node.function:  # a user's, of whatever name
        return _call(function, xs)
    if function in _SILENT:
        return xs[0]
    if function in _INFIX:
        return _infix(function, *xs)
    if node.function is contract:
        return _contraction(node, *xs)
    if node.function is index:
        places = index_text(node.keywords["at"])
        return _Binding((*_inside(xs[0], _ATOM), f"[{places}]"), _ATOM)
    if function in _FORMS:
        return _FORMS[function](*xs)
    return _call(function, xs)


def _call(function: str, xs: Sequence[_Binding]) -> _Binding:
    parts: list[str | Reference] = [f"{function}("]
    for i, x in enumerate(xs):
        parts += [", ", *x.parts] if i else x.parts
    return _Binding((*parts, ")"), _ATOM)


def _inside(x: _Binding, strength: int) -> Parts:
    return x.parts if x.strength >= strength else ("(", *x.parts, ")")


def _infix(function: str, a: _Binding, b: _Binding) -> _Binding:
    sign, strength, right = _INFIX[function]
    if function == "multiply" and a.parts == b.parts:
        return _raised(a, "²")
    if function == "add":
        return _Binding(joined([_inside(a, strength), _inside(b, right)]), strength)
    return _Binding((*_inside(a, strength), f" {sign} ", *_inside(b, right)), strength)


def _raised(x: _Binding, exponent: str) -> _Binding:
    return _Binding((*_inside(x, _ATOM), exponent), _POWER)


def _power(a: _Binding, b: _Binding) -> _Binding:
    if len(b.parts) == 1 and isinstance(b.parts[0], str) and b.parts[0].isdigit():
        return _raised(a, b.parts[0].translate(SUPERSCRIPTS))
    return _Binding((*_inside(a, _ATOM), "^", *_inside(b, _ATOM)), _POWER)


def _chosen(condition: _Binding, a: _Binding, b: _Binding) -> _Binding:
    return b if condition.parts == ("0",) else _call("where", [condition, a, b])


def _both(a: _Binding, b: _Binding) -> _Binding:
    never = [x for x in (a, b) if x.parts == ("0",)]
    return never[0] if never else _call("logical_and", [a, b])


_FORMS: dict[str, Callable[..., _Binding]] = {
    "negative": lambda x: _Binding(("−", *_inside(x, _PRODUCT)), _SUM),
    "square": lambda x: _raised(x, "²"),
    "power": _power,
    "reciprocal": lambda x: _Binding(("1 / ", *_inside(x, _POWER)), _PRODUCT),
    "sqrt": lambda x: _Binding(("√", *_inside(x, _ATOM)), _POWER),
    "absolute": lambda x: _Binding(("|", *x.parts, "|"), _ATOM),
    "logical_and": _both,
    "where": _chosen,
    "transpose": lambda x: _raised(x, "ᵀ"),
}
_SILENT = ("real", "reshape", "broadcast")
"""Functions that only fit a value to its place: inside of others nothing is written."""

# Contractions that have a notation, by their labels: whether the second comes first,
# and which of the two, as they are written, are transposed.
_PRODUCTS = {
    "ij,j->i": (False, False, False),
    "i,ji->j": (True, False, False),
    "ij,i->j": (False, True, False),
    "i,ij->j": (True, True, False),
    "ij,jk->ik": (False, False, False),
    "ij,kj->ik": (False, False, True),
    "ij,ik->jk": (False, True, False),
    "i,i->": (False, True, False),
}


def _contraction(node: Node, a: _Binding, b: _Binding) -> _Binding:
    letters = [
        "".join(chr(ord("i") + label) for label in labels)
        for labels in node.keywords["labels"]
    ]
    signature = _canonical(f"{letters[0]},{letters[1]}->{letters[2]}")
    if "" in letters[:2]:
        return _infix("multiply", a, b)
    if signature == "i,j->ij":
        return _Binding((*_inside(a, _POWER), " ⊗ ", *_inside(b, _POWER)), _PRODUCT)
    if signature not in _PRODUCTS:
        return _call(f"Σ[{signature}]", [a, b])
    swapped, *transposed = _PRODUCTS[signature]
    left, right = (
        _inside(_raised(x, "ᵀ") if turned else x, _POWER)
        for x, turned in zip((b, a) if swapped else (a, b), transposed, strict=True)
    )
    return _Binding((*left, " ", *right), _PRODUCT)


def _canonical(signature: str) -> str:
    """Return the same labels, in the order in which they appear."""
    order: dict[str, str] = {}
    for letter in signature:
        if letter not in ",->":
            order.setdefault(letter, chr(ord("i") + len(order)))
    return "".join(order.get(letter, letter) for letter in signature)
