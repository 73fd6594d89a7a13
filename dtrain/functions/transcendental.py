"""Exponentials, logarithms, and trigonometric and hyperbolic functions."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from dtrain.functions.base import (
    UFUNCS,
    BaseFunction,
    Cost,
    Expression,
    broadcast_shape,
    elementwise,
    register,
)

LN2, LN10 = float(np.log(2)), float(np.log(10))

slow = partial(elementwise, cost=Cost.SLOW)

exp = slow(np.exp, lambda v, y, x: (v * y,), doc="eˣ.")

expm1 = slow(np.expm1, lambda v, y, x: (v * (y + 1),), doc="eˣ − 1, exact near 0.")

log = slow(np.log, lambda v, y, x: (v / x,), doc="The natural logarithm.")

log1p = slow(np.log1p, lambda v, y, x: (v / (1 + x),), doc="log(1 + x), exact near 0.")

sin = slow(np.sin, lambda v, y, x: (v * np.cos(x),), doc="The sine.")

cos = slow(np.cos, lambda v, y, x: (-(v * np.sin(x)),), doc="The cosine.")

tan = slow(np.tan, lambda v, y, x: (v * (1 + y * y),), doc="The tangent.")

arctan = slow(np.arctan, lambda v, y, x: (v / (1 + x * x),), doc="The inverse tangent.")

sinh = slow(np.sinh, lambda v, y, x: (v * np.cosh(x),), doc="The hyperbolic sine.")

cosh = slow(np.cosh, lambda v, y, x: (v * np.sinh(x),), doc="The hyperbolic cosine.")

tanh = slow(np.tanh, lambda v, y, x: (v * (1 - y * y),), doc="The hyperbolic tangent.")


def _sigmoid(x: NDArray[np.floating]) -> NDArray[np.floating]:
    with np.errstate(over="ignore"):  # e⁻ˣ = ∞ gives the right 0
        return 1 / (1 + np.exp(-x))  # type: ignore[no-any-return]


sigmoid = register(
    BaseFunction(
        name="sigmoid",
        cost=Cost.SLOW,
        value=_sigmoid,
        shape=broadcast_shape,
        # Written out, 1/(1+e⁻ˣ) would pass 0·∞ backward at large −x.
        vjp=lambda v, y, x: (v * (y * (1 - y)),),
        doc="1 / (1 + e⁻ˣ); the formula written with exp becomes this.",
    )
)

exp2 = slow(np.exp2, lambda v, y, x: (v * (LN2 * y),), doc="2ˣ.")

log2 = slow(np.log2, lambda v, y, x: (v / (LN2 * x),), doc="The logarithm to base 2.")

log10 = slow(
    np.log10, lambda v, y, x: (v / (LN10 * x),), doc="The logarithm to base 10."
)

logaddexp = slow(
    np.logaddexp,
    lambda v, y, a, b: (v * sigmoid(a - b), v * sigmoid(b - a)),
    doc="log(eᵃ + eᵇ), without overflow.",
)

logaddexp2 = slow(
    np.logaddexp2,
    lambda v, y, a, b: (v * sigmoid(LN2 * (a - b)), v * sigmoid(LN2 * (b - a))),
    doc="log₂(2ᵃ + 2ᵇ), without overflow.",
)

# √((1 − x)(1 + x)) keeps the digits that 1 − x² loses near ±1.

arcsin = slow(
    np.arcsin,
    lambda v, y, x: (v / np.sqrt((1 - x) * (1 + x)),),
    doc="The inverse sine, from −π/2 to π/2.",
)

arccos = slow(
    np.arccos,
    lambda v, y, x: (-(v / np.sqrt((1 - x) * (1 + x))),),
    doc="The inverse cosine, from 0 to π.",
)


def _arctan2_vjp(
    v: Expression, y: Expression, a: Expression, b: Expression
) -> tuple[Expression, Expression]:
    length = np.hypot(a, b)  # whose square would underflow or overflow
    return v * (b / length) / length, -(v * (a / length) / length)


arctan2 = slow(
    np.arctan2,
    _arctan2_vjp,
    doc="The angle of the point (b, a), from −π to π.",
)

arcsinh = slow(
    np.arcsinh,
    lambda v, y, x: (v / np.sqrt(x * x + 1),),
    doc="The inverse hyperbolic sine.",
)

arccosh = slow(
    np.arccosh,
    lambda v, y, x: (v / np.sqrt((x - 1) * (x + 1)),),
    doc="The inverse hyperbolic cosine, at least 0.",
)

arctanh = slow(
    np.arctanh,
    lambda v, y, x: (v / ((1 - x) * (1 + x)),),
    doc="The inverse hyperbolic tangent.",
)

deg2rad = slow(
    np.deg2rad, lambda v, y, x: (v * (np.pi / 180),), doc="Degrees as radians."
)

rad2deg = slow(
    np.rad2deg, lambda v, y, x: (v * (180 / np.pi),), doc="Radians as degrees."
)

UFUNCS[np.radians] = deg2rad
UFUNCS[np.degrees] = rad2deg
