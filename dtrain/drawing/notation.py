"""Expressions of base functions in the lecture's notation: ``v_E · W1 · (1 − E²)``.

An expression is a sequence of texts and references, so it can be printed with names or
with the values at a point.
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
    """A reference to a node's value, of kind ``x``, or to its adjoint, ``v``."""

    kind: str
    node: int


Parts = tuple[str | Reference, ...]


class _Term(NamedTuple):
    """An expression with the precedence of its outermost operator."""

    parts: Parts
    precedence: int


class _TooLong(Exception):
    """An expression has more than `_LONGEST` parts."""


_LONGEST = 160  # nodes with many readers can make it exponentially long

_COMPARISON, _SUM, _PRODUCT, _POWER, _ATOM = range(5)
_INFIX = {
    "+": ("+", _SUM, _SUM),
    "-": ("−", _SUM, _PRODUCT),
    "*": ("·", _PRODUCT, _PRODUCT),
    "/": ("/", _PRODUCT, _POWER),
    ">": (">", _COMPARISON, _SUM),
    ">=": ("≥", _COMPARISON, _SUM),
    "<": ("<", _COMPARISON, _SUM),
    "<=": ("≤", _COMPARISON, _SUM),
    "==": ("=", _COMPARISON, _SUM),
    "!=": ("≠", _COMPARISON, _SUM),
}
"""Each infix operator's sign, its precedence, and the least of its right operand."""


def name(graph: FlowGraph, number: int) -> str:
    """Return a node's name; if it has none, x with its number."""
    return graph.nodes[number].name or "x" + str(number).translate(_SUBSCRIPTS)


def expression(
    graph: FlowGraph, number: int, references: Mapping[int, Reference]
) -> Parts | None:
    """Return a node's value in terms of others; ``None`` if it is too long to read.

    Args:
        graph: the graph of the node.
        number: the node's number.
        references: the nodes to write as references, at least all leaves except
            constants.
    """
    try:
        return _expression(graph, number, references).parts
    except _TooLong:
        return None


def applied(graph: FlowGraph, number: int) -> Parts:
    """Return a node's function applied to its inputs."""
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
        written: returns the text of a reference.
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
    """Return a number with this many digits and a typographic minus sign."""
    return f"{value:.{digits}g}".replace("-", "−")


def _written_out(node: Node) -> bool:
    return node.constant is not None and node.shape == ()


def _expression(
    graph: FlowGraph, number: int, references: Mapping[int, Reference]
) -> _Term:
    if number in references:
        return _Term((references[number],), _ATOM)
    node = graph.nodes[number]
    if node.constant is not None:
        if node.shape != ():
            return _Term((f"constant {node.shape}",), _ATOM)
        value = number_text(float(node.constant), 6)
        return _Term((value,), _SUM if value.startswith("−") else _ATOM)
    xs = [_expression(graph, i, references) for i in node.inputs]
    if sum(len(x.parts) for x in xs) > _LONGEST:
        raise _TooLong
    return _of(node, xs)


def _of(node: Node, xs: Sequence[_Term]) -> _Term:
    """Return a node's function applied to expressions."""
    function = node.function.name
    if FUNCTIONS.get(function) is not node.function:  # a user's function
        return _call(function, xs)
    if function in _SILENT:
        return xs[0]
    if node.function.infix in _INFIX:
        return _infix(node.function.infix, *xs)
    if node.function is contract:
        return _contraction(node, *xs)
    if node.function is index:
        indices = index_text(node.keywords["at"])
        return _Term((*_inside(xs[0], _ATOM), f"[{indices}]"), _ATOM)
    if function in _FORMS:
        return _FORMS[function](*xs)
    return _call(function, xs)


def _call(function: str, xs: Sequence[_Term]) -> _Term:
    parts: list[str | Reference] = [f"{function}("]
    for i, x in enumerate(xs):
        parts += [", ", *x.parts] if i else x.parts
    return _Term((*parts, ")"), _ATOM)


def _inside(x: _Term, precedence: int) -> Parts:
    return x.parts if x.precedence >= precedence else ("(", *x.parts, ")")


def _infix(operator: str, a: _Term, b: _Term) -> _Term:
    sign, precedence, right = _INFIX[operator]
    if operator == "*" and a.parts == b.parts:
        return _raised(a, "²")
    if operator == "+":
        return _Term(joined([_inside(a, precedence), _inside(b, right)]), precedence)
    return _Term((*_inside(a, precedence), f" {sign} ", *_inside(b, right)), precedence)


def _raised(x: _Term, exponent: str) -> _Term:
    return _Term((*_inside(x, _ATOM), exponent), _POWER)


def _power(a: _Term, b: _Term) -> _Term:
    if len(b.parts) == 1 and isinstance(b.parts[0], str) and b.parts[0].isdigit():
        return _raised(a, b.parts[0].translate(SUPERSCRIPTS))
    return _Term((*_inside(a, _ATOM), "^", *_inside(b, _ATOM)), _POWER)


def _chosen(condition: _Term, a: _Term, b: _Term) -> _Term:
    return b if condition.parts == ("0",) else _call("where", [condition, a, b])


def _both(a: _Term, b: _Term) -> _Term:
    never = [x for x in (a, b) if x.parts == ("0",)]
    return never[0] if never else _call("logical_and", [a, b])


_FORMS: dict[str, Callable[..., _Term]] = {
    "negative": lambda x: _Term(("−", *_inside(x, _PRODUCT)), _SUM),
    "square": lambda x: _raised(x, "²"),
    "power": _power,
    "reciprocal": lambda x: _Term(("1 / ", *_inside(x, _POWER)), _PRODUCT),
    "sqrt": lambda x: _Term(("√", *_inside(x, _ATOM)), _POWER),
    "absolute": lambda x: _Term(("|", *x.parts, "|"), _ATOM),
    "logical_and": _both,
    "where": _chosen,
    "transpose": lambda x: _raised(x, "ᵀ"),
}
_SILENT = ("real", "reshape", "broadcast")
"""Functions that only convert dtype or shape: they are omitted inside expressions."""

# Contractions with a special notation, by their labels: whether the second operand is
# written first, and whether the left and the right one are transposed.
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


def _contraction(node: Node, a: _Term, b: _Term) -> _Term:
    letters = [
        "".join(chr(ord("i") + label) for label in labels)
        for labels in node.keywords["labels"]
    ]
    signature = _canonical(f"{letters[0]},{letters[1]}->{letters[2]}")
    if "" in letters[:2]:
        return _infix("*", a, b)
    if signature == "i,j->ij":
        return _Term((*_inside(a, _POWER), " ⊗ ", *_inside(b, _POWER)), _PRODUCT)
    if signature not in _PRODUCTS:
        return _call(f"Σ[{signature}]", [a, b])
    swapped, *transposed = _PRODUCTS[signature]
    left, right = (
        _inside(_raised(x, "ᵀ") if transpose else x, _POWER)
        for x, transpose in zip((b, a) if swapped else (a, b), transposed, strict=True)
    )
    return _Term((*left, " ", *right), _PRODUCT)


def _canonical(signature: str) -> str:
    """Rename labels to i, j, k, ... in the order in which they appear."""
    order: dict[str, str] = {}
    for letter in signature:
        if letter not in ",->":
            order.setdefault(letter, chr(ord("i") + len(order)))
    return "".join(order.get(letter, letter) for letter in signature)
