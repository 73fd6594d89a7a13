"""Translate base functions and flow graphs of scalars to JavaScript."""

from __future__ import annotations

import math
from collections.abc import Iterator

from dtrain.explain.pieces import Piece
from dtrain.functions.base import FUNCTIONS as BASE_FUNCTIONS
from dtrain.tracing.expand import expand
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.node import INPUT, Node

FUNCTIONS = {
    "absolute": "Math.abs(a)",
    "add": "a + b",
    "arccos": "Math.acos(a)",
    "arccosh": "Math.acosh(a)",
    "arcsin": "Math.asin(a)",
    "arcsinh": "Math.asinh(a)",
    "arctan": "Math.atan(a)",
    "arctan2": "Math.atan2(a, b)",
    "arctanh": "Math.atanh(a)",
    "block_sum": "a",
    "broadcast": "a",
    "cbrt": "Math.cbrt(a)",
    "ceil": "Math.ceil(a)",
    "contract": "a * b",
    "copysign": "F.signbit(a) === F.signbit(b) ? a : -a",
    "cos": "Math.cos(a)",
    "cosh": "Math.cosh(a)",
    "deg2rad": "a * (Math.PI / 180)",
    "divide": "a / b",
    "equal": "a === b",
    "exp": "Math.exp(a)",
    "exp2": "Math.pow(2, a)",
    "expm1": "Math.expm1(a)",
    "floor": "Math.floor(a)",
    "floor_divide": "b === 0 ? a / b : Math.round((a - F.remainder(a, b)) / b)",
    "fmax": "a > b || b !== b ? a : b",
    "fmin": "a < b || b !== b ? a : b",
    "fmod": "a % b",
    "greater": "a > b",
    "greater_equal": "a >= b",
    "heaviside": "a < 0 ? 0 : a > 0 ? 1 : a === 0 ? b : a",
    "hypot": "Math.hypot(a, b)",
    "integer": "Math.trunc(a)",
    "isfinite": "Number.isFinite(a)",
    "isinf": "Math.abs(a) === Infinity",
    "isnan": "a !== a",
    "less": "a < b",
    "less_equal": "a <= b",
    "log": "Math.log(a)",
    "log10": "Math.log10(a)",
    "log1p": "Math.log1p(a)",
    "log2": "Math.log2(a)",
    "logaddexp": (
        "a === b ? a + Math.LN2 : "
        "Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)))"
    ),
    "logaddexp2": (
        "a === b ? a + 1 : "
        "Math.max(a, b) + Math.log1p(Math.pow(2, -Math.abs(a - b))) / Math.LN2"
    ),
    "logical_and": "a && b",
    "logical_not": "!a",
    "logical_or": "a || b",
    "logical_xor": "a !== b",
    "maximum": "Math.max(a, b)",
    "minimum": "Math.min(a, b)",
    "multiply": "a * b",
    "negative": "-a",
    "not_equal": "a !== b",
    "power": "a === 1 || b === 0 ? 1 : Math.pow(a, b)",
    "rad2deg": "a * (180 / Math.PI)",
    "real": "Number(a)",
    "reciprocal": "1 / a",
    "remainder": "a % b === 0 || a % b < 0 === b < 0 ? a % b : a % b + b",
    "reshape": "a",
    "rint": "a % 1 === 0.5 || a % 1 === -0.5 ? 2 * Math.round(a / 2) : Math.round(a)",
    "sigmoid": "1 / (1 + Math.exp(-a))",
    "sign": "Math.sign(a)",
    "signbit": "a < 0 || Object.is(a, -0)",
    "sin": "Math.sin(a)",
    "sinh": "Math.sinh(a)",
    "sqrt": "Math.sqrt(a)",
    "square": "a * a",
    "subtract": "a - b",
    "sum": "a",
    "tan": "Math.tan(a)",
    "tanh": "Math.tanh(a)",
    "to_samples": "a",
    "transpose": "a",
    "trunc": "Math.trunc(a)",
    "where": "a ? b : c",
}
"""The expression of each base function of scalars in its inputs a, b and c."""


class Untranslated(Exception):
    """A function has no JavaScript; the message is its name."""


def table(names: set[str]) -> str:
    """Return the JavaScript object F of these functions and of those that they call."""
    wanted = set(names)
    for name in names:
        wanted |= {other for other in FUNCTIONS if f"F.{other}(" in FUNCTIONS[name]}
    entries = "".join(
        f"  {name}: (a, b, c) => {FUNCTIONS[name]},\n" for name in sorted(wanted)
    )
    return f"const F = {{\n{entries}}};\n"


class Translation:
    """A translator of scalar graphs to arrow functions.

    Attributes:
        used: the names of the base functions that the translated graphs call.
    """

    def __init__(self) -> None:
        self.used: set[str] = set()

    def arrow(self, piece: Piece) -> str:
        """Return a piece as a function of all values x and of one adjoint v.

        Raises:
            Untranslated: a base function has no JavaScript.
        """
        graph, names = _expanded(piece.graph), dict[int, str]()
        lines = list(self._statements(Piece(graph, piece.leaves), names))
        result = names[graph.output]
        if not lines:
            return f"(x, v) => {result}"
        if len(lines) == 1:
            return f"(x, v) => {lines[0][1]}"
        code = " ".join(f"const {name} = {call};" for name, call in lines)
        return f"(x, v) => {{ {code} return {result}; }}"

    def _statements(
        self, piece: Piece, names: dict[int, str]
    ) -> Iterator[tuple[str, str]]:
        """Yield the name of each intermediate result, and the call that computes it."""
        for number, node in enumerate(piece.graph.nodes):
            if node.shape != ():
                raise Untranslated(f"{node.function.name} of an array")
            if node.function is INPUT:
                kind, source = piece.leaves[node.keywords["name"]]
                names[number] = "v" if kind == "v" else f"x[{source}]"
            elif node.constant is not None:
                names[number] = _literal(node.constant.item())
            elif not _known(node):
                raise Untranslated(node.function.name)
            else:
                names[number] = f"t{number}"
                self.used.add(node.function.name)
                arguments = ", ".join(names[i] for i in node.inputs)
                yield names[number], f"F.{node.function.name}({arguments})"


def _expanded(graph: FlowGraph) -> FlowGraph:
    """Return the graph; if a function has no JavaScript, expand all definitions."""
    known = all(_known(node) for node in graph.nodes if node.inputs)
    return graph if known else expand(graph)


def _known(node: Node) -> bool:
    """Return whether a node's function has JavaScript; a custom function has none."""
    name = node.function.name
    return name in FUNCTIONS and BASE_FUNCTIONS.get(name) is node.function


def _literal(value: float | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value).replace("nan", "NaN")
