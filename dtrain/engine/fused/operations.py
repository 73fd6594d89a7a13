"""The kernels that are computed on lanes; all others are left to NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dtrain.engine.fused import elementary
from dtrain.engine.fused.elementary.steps import FRACTION
from dtrain.engine.fused.lanes.lanes import Lanes, maximum, minimum, select


@dataclass(frozen=True)
class Operation:
    """A kernel on lanes.

    Attributes:
        formula: from the operands' lanes to the result's.
        operands: for each, the kinds of dtype it may have: some of ``f``, ``b``, ``i``.
        result: the result's kind of dtype.
    """

    formula: Callable[..., Lanes]
    operands: tuple[str, ...]
    result: str = "f"

    def takes(self, kinds: Sequence[str]) -> bool:
        """Return whether operands and result may have these kinds of dtype."""
        *given, result = kinds
        return (
            result == self.result
            and len(given) == len(self.operands)
            and all(k in may for k, may in zip(given, self.operands, strict=True))
        )


def _sign(x: Lanes) -> Lanes:
    return select(x > 0, 1.0, select(x < 0, -1.0, select(x == 0, 0.0, x)))


def _rint(x: Lanes) -> Lanes:
    """Return the nearest integer, by adding a number whose last digit is worth 1."""
    a, large = abs(x), 2.0 ** FRACTION[x.kind]
    return select(a < large, a + large - large, a).signed_like(x)


def _floor(x: Lanes) -> Lanes:
    rounded = _rint(x)
    return select(rounded > x, rounded - 1, rounded).signed_like(x)


def _ceil(x: Lanes) -> Lanes:
    rounded = _rint(x)
    return select(rounded < x, rounded + 1, rounded).signed_like(x)


def _trunc(x: Lanes) -> Lanes:
    return _floor(abs(x)).signed_like(x)


def _heaviside(x: Lanes, h: Lanes) -> Lanes:
    return select(x < 0, 0.0, select(x > 0, 1.0, select(x == 0, h, x)))


def _logaddexp(a: Lanes, b: Lanes) -> Lanes:
    """Return the larger + log(1 + e^−d), or + log 2 if equal, even if infinite."""
    apart = maximum(a, b) + elementary.FUNCTIONS["log1p"](
        elementary.FUNCTIONS["exp"](-abs(a - b))
    )
    return select(a == b, a + math.log(2), apart)


def _logaddexp2(a: Lanes, b: Lanes) -> Lanes:
    added = elementary.FUNCTIONS["log1p"](elementary.FUNCTIONS["exp2"](-abs(a - b)))
    return select(a == b, a + 1, maximum(a, b) + added * (1 / math.log(2)))


def _keep(condition: Lanes, a: Lanes) -> Lanes:
    return select(condition, a, 0.0)


def _drop(condition: Lanes, b: Lanes) -> Lanes:
    return select(condition, 0.0, b)


_REAL, _PAIR = ("f",), ("f", "f")
OPERATIONS: dict[str, Operation] = {
    "add": Operation(lambda a, b: a + b, _PAIR),
    "subtract": Operation(lambda a, b: a - b, _PAIR),
    "multiply": Operation(lambda a, b: a * b, _PAIR),
    "divide": Operation(lambda a, b: a / b, _PAIR),
    "maximum": Operation(maximum, _PAIR),
    "minimum": Operation(minimum, _PAIR),
    "fmax": Operation(lambda a, b: select((a > b) | (b != b), a, b), _PAIR),
    "fmin": Operation(lambda a, b: select((a < b) | (b != b), a, b), _PAIR),
    "copysign": Operation(lambda a, b: abs(a).signed_like(b), _PAIR),
    "heaviside": Operation(_heaviside, _PAIR),
    "logaddexp": Operation(_logaddexp, _PAIR),
    "logaddexp2": Operation(_logaddexp2, _PAIR),
    "deg2rad": Operation(lambda x: x * (math.pi / 180), _REAL),
    "rad2deg": Operation(lambda x: x * (180 / math.pi), _REAL),
    "rint": Operation(_rint, _REAL),
    "floor": Operation(_floor, _REAL),
    "ceil": Operation(_ceil, _REAL),
    "trunc": Operation(_trunc, _REAL),
    "isnan": Operation(lambda x: x != x, _REAL, "b"),
    "isinf": Operation(lambda x: abs(x) == math.inf, _REAL, "b"),
    "isfinite": Operation(lambda x: abs(x) < math.inf, _REAL, "b"),
    "signbit": Operation(lambda x: (x.bits() & x.sign_bit) != 0, _REAL, "b"),
    "negative": Operation(lambda x: -x, _REAL),
    "square": Operation(lambda x: x * x, _REAL),
    "reciprocal": Operation(lambda x: 1 / x, _REAL),
    "absolute": Operation(abs, _REAL),
    "sign": Operation(_sign, _REAL),
    "copy": Operation(lambda x: x, ("fbi",)),
    "keep": Operation(_keep, ("b", "f")),
    "drop": Operation(_drop, ("b", "f")),
    "select": Operation(select, ("b", "f", "f")),
    "greater": Operation(lambda a, b: a > b, _PAIR, "b"),
    "greater_equal": Operation(lambda a, b: a >= b, _PAIR, "b"),
    "less": Operation(lambda a, b: a < b, _PAIR, "b"),
    "less_equal": Operation(lambda a, b: a <= b, _PAIR, "b"),
    "equal": Operation(lambda a, b: a == b, _PAIR, "b"),
    "not_equal": Operation(lambda a, b: a != b, _PAIR, "b"),
    "logical_and": Operation(lambda a, b: a & b, ("b", "b"), "b"),
    "logical_or": Operation(lambda a, b: a | b, ("b", "b"), "b"),
    "logical_xor": Operation(lambda a, b: a ^ b, ("b", "b"), "b"),
    "logical_not": Operation(lambda x: ~x, ("b",), "b"),
    "choose": Operation(lambda c, a, b: (c & a) | (~c & b), ("b", "b", "b"), "b"),
    **{
        name: Operation(formula, _PAIR if name == "power" else _REAL)
        for name, formula in elementary.FUNCTIONS.items()
    },
}
