"""Arithmetic: + − × ÷, powers, and functions that abbreviate them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dtrain.functions.base import UFUNCS, Expression, adapter, elementwise

add = elementwise(
    np.add,
    lambda v, y, a, b: (v, v),
    commutes=True,
    infix="+",
    doc="The sum a + b.",
)

subtract = elementwise(np.subtract, lambda v, y, a, b: (v, -v), infix="-", doc="a − b.")

multiply = elementwise(
    np.multiply,
    lambda v, y, a, b: (v * b, v * a),
    commutes=True,
    infix="*",
    doc="The product a · b.",
)

divide = elementwise(
    np.divide,
    lambda v, y, a, b: (v / b, -(v * y / b)),
    infix="/",
    doc="The quotient a / b.",
)

negative = elementwise(np.negative, lambda v, y, x: (-v,), doc="−x.")

square = elementwise(np.square, lambda v, y, x: (v * (2 * x),), doc="x².")

reciprocal = elementwise(np.reciprocal, lambda v, y, x: (-(v * (y * y)),), doc="1 / x.")

sqrt = elementwise(np.sqrt, lambda v, y, x: (v * (0.5 / y),), doc="The square root.")

cbrt = elementwise(np.cbrt, lambda v, y, x: (v / (3 * y * y),), doc="The cube root.")


def _hypot_vjp(
    v: Expression, y: Expression, a: Expression, b: Expression
) -> tuple[Expression, Expression]:
    length = np.where(np.equal(y, 0), 1, y)  # at the tip of the cone pass 0
    return v * (a / length), v * (b / length)


hypot = elementwise(
    np.hypot, _hypot_vjp, doc="√(a² + b²); the derivative at (0, 0) is 0."
)


def _power_vjp(
    v: Expression, y: Expression, a: Expression, b: Expression
) -> tuple[Expression, Expression]:
    # The plain formulas do not give these limits: a⁰ has the derivative 0 even where
    # 1/a is infinite, at 0 and next to it, and 0ᵇ does not change with b.
    corner = np.logical_and(np.isinf(np.reciprocal(a)), np.equal(b, 0))
    lower = np.where(corner, 1, b - 1)
    base = np.where(np.equal(a, 0), 1, a)
    return v * (b * a**lower), v * (y * np.log(base))


power = elementwise(
    np.power,
    _power_vjp,
    infix="**",
    doc="a to the power b; the derivative by b needs a ≥ 0.",
)

UFUNCS[np.float_power] = power


@adapter(np.positive, np.conjugate)
def _positive(x: Any) -> Any:
    return x


@adapter(np.real)
def _real(val: Any) -> Any:
    return val


@adapter(np.copy)
def _copy(a: Any) -> Any:
    return a


def polynomial(x: Expression, coefficients: Sequence[float]) -> Expression:
    """Return the sum of the coefficients times 1, x, x², ..., by Horner's rule."""
    y = coefficients[-1] * x + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        y = y * x + coefficient
    return y
