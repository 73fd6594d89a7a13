"""The gamma function, its logarithm, the derivatives of that, and the beta function.

Arguments below 1/2 are reflected to 1 - x. Arguments below 8 are moved up by 8 with
the recurrence. Stirling's series is accurate for all others.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from dtrain.functions.arithmetic import polynomial
from dtrain.functions.base import BaseFunction, Expression, broadcast_shape, register

# Stirling's series, in 1/t² (Abramowitz and Stegun, 6.1.41 and 6.3.18); eight terms are
# enough from t = 8 on.
_GAMMALN = tuple(
    numerator / denominator
    for numerator, denominator in (
        (1, 12),
        (-1, 360),
        (1, 1260),
        (-1, 1680),
        (1, 1188),
        (-691, 360360),
        (1, 156),
        (-3617, 122400),
    )
)
_SHIFT = 8


def _shifted(x: Expression) -> tuple[Expression, Expression, Expression, Expression]:
    """Return where Γ(x) is reflected, small arguments, their mask, and large ones."""
    reflected = np.less(x, 0.5)
    z = np.where(reflected, 1 - x, x)
    small = np.less(z, _SHIFT)
    return reflected, np.where(small, z, 1), small, np.where(small, z + _SHIFT, z)


def _part(x: Expression) -> Expression:
    """Return the distance to the nearest integer, which keeps the digits of sin πx."""
    return x - np.rint(x)


def _gammaln(x: Expression) -> Expression:
    reflected, z, small, t = _shifted(x)
    series = polynomial(1 / (t * t), _GAMMALN) / t
    y = (t - 0.5) * np.log(t) - t + 0.5 * math.log(2 * math.pi) + series
    product = z
    for i in range(1, _SHIFT):  # Γ(z + 8) = Γ(z) z (z + 1) ... (z + 7)
        product = product * (z + i)
    y = y - np.where(small, np.log(product), 0)
    part = _part(np.where(reflected, x, 0.5))
    sine = np.abs(np.sin(math.pi * part))
    y = np.where(reflected, np.log(math.pi / sine) - y, y)
    return np.where(np.isinf(x), np.inf, y)  # where the series is ∞ − ∞


def _sign(x: Expression) -> Expression:
    """Return the sign of sin πx, which is that of Γ(x) below 0; 1 for integers."""
    return 1 - 2 * np.remainder(np.floor(x), 2)


def _at_pole(x: Expression, part: Expression) -> Expression:
    """Return where Γ has a pole below 0, with other signs on its sides."""
    return np.logical_and(np.less(x, 0), np.equal(part, 0))


def _gamma(x: Expression) -> Expression:
    reflected, z, small, t = _shifted(x)
    # e⁻ᵗ between two roots of the power, which would overflow too early.
    root = t ** (0.5 * t - 0.25)
    correction = polynomial(1 / (t * t), _GAMMALN) / t
    y = math.sqrt(2 * math.pi) * (root * np.exp(-t) * root) * np.exp(correction)
    product = z
    for i in range(1, _SHIFT):
        product = product * (z + i)
    y = y / np.where(small, product, 1)
    y = np.where(np.isinf(t), t, y)  # where it is ∞ · 0
    part = _part(np.where(reflected, x, 0.5))
    sine = np.abs(np.sin(math.pi * part)) * _sign(np.where(reflected, x, 0.5))
    y = np.where(reflected, math.pi / sine / y, y)
    return np.where(_at_pole(x, part), np.nan, y)


def _digamma(x: Expression) -> Expression:
    reflected, z, small, t = _shifted(x)
    square = 1 / (t * t)
    derivative = [-(2 * k + 1) * c for k, c in enumerate(_GAMMALN)]
    y = np.log(t) - 0.5 / t + polynomial(square, derivative) * square
    steps = 1 / z
    for i in range(1, _SHIFT):
        steps = steps + 1 / (z + i)
    y = y - np.where(small, steps, 0)
    part = _part(np.where(reflected, x, 0.5))
    y = np.where(reflected, y - math.pi / np.tan(math.pi * part), y)
    # At a pole below 0 the limits are +∞ on one side and −∞ on the other.
    return np.where(np.logical_and(np.less(x, 0), np.equal(part, 0)), np.nan, y)


gammaln = register(
    BaseFunction(
        name="gammaln",
        value=_gammaln,
        shape=broadcast_shape,
        definition=_gammaln,
        vjp=lambda v, y, x: (v * _digamma(x),),
        doc="log |Γ(x)|, with an absolute error of a few last-place units of 10.",
    )
)

digamma = register(
    BaseFunction(
        name="digamma",
        value=_digamma,
        shape=broadcast_shape,
        definition=_digamma,
        doc="The derivative of gammaln.",
    )
)


gamma = register(
    BaseFunction(
        name="gamma",
        value=_gamma,
        shape=broadcast_shape,
        definition=_gamma,
        vjp=lambda v, y, x: (v * (y * digamma(x)),),
        doc="The gamma function, Γ(x) = ∫₀^∞ t^(x−1) e⁻ᵗ dt.",
    )
)

# The Bernoulli numbers B₂, B₄, ... B₃₂.
_BERNOULLI = tuple(
    numerator / denominator
    for numerator, denominator in (
        *((1, 6), (-1, 30), (1, 42), (-1, 30), (5, 66), (-691, 2730), (7, 6)),
        *((-3617, 510), (43867, 798), (-174611, 330), (854513, 138)),
        *((-236364091, 2730), (8553103, 6), (-23749461029, 870)),
        *((8615841276005, 14322), (-7709321041217, 510)),
    )
)


def _polygamma(x: Expression, *, order: int) -> Expression:
    """Sum up to 8 by the recurrence, then by Stirling's series (A. and S., 6.4.11)."""
    below = np.less(x, 0)
    z = np.where(below, 1 - x, x)
    small = np.less(z, _SHIFT)
    t = np.where(small, z + _SHIFT, z)
    inverse = 1 / t
    factor = float(math.factorial(order))
    powers = [
        b * (math.factorial(2 * k + order - 1) / math.factorial(2 * k))
        for k, b in enumerate(_BERNOULLI, 1)
    ]
    square = inverse * inverse
    series = 0.5 * factor * inverse + polynomial(square, powers) * square
    y = (factor / order + series) * inverse**order
    z = np.where(small, z, 1)
    steps = z ** -(order + 1)
    for i in range(1, _SHIFT):
        steps = steps + (z + i) ** -(order + 1)
    y = y + np.where(small, factor * steps, 0)
    part = _part(np.where(below, x, 0.5))
    reflection = _slope_of_cotangent(1 / np.tan(math.pi * part), order)
    y = np.where(below, -y - reflection, y if order % 2 else -y)
    return np.where(np.isinf(x), np.where(below, np.nan, 0), y)


def _slope_of_cotangent(c: Expression, order: int) -> Expression:
    """Return a derivative of π cot πx, a polynomial in c = cot πx."""
    powers = np.polynomial.Polynomial([0, 1])
    for _ in range(order):
        powers = powers.deriv() * np.polynomial.Polynomial([-1, 0, -1])
    return math.pi ** (order + 1) * polynomial(c, [float(p) for p in powers.coef])


_POLYGAMMA: BaseFunction = register(
    BaseFunction(
        name="polygamma",
        value=_polygamma,
        shape=lambda shape, *, order: shape,
        definition=_polygamma,
        vjp=lambda v, y, x, *, order: (v * _POLYGAMMA(x, order=order + 1),),
        doc="The derivative of digamma of an order from 1 on.",
    )
)


def polygamma(n: int, x: Any) -> Any:
    """Return the derivative of digamma of order n, a constant, elementwise."""
    order = operator.index(n)
    if order < 0:
        raise ValueError(f"polygamma has no order {n}")
    return _POLYGAMMA(x, order=order) if order else digamma(x)


def _beta(a: Expression, b: Expression) -> Expression:
    whole = a + b
    large = np.greater(np.maximum(np.maximum(a, b), whole), 100)
    p, q, r = (np.where(large, 1, x) for x in (a, b, whole))
    product = gamma(p) * (gamma(q) / gamma(r))
    p, q, r = (np.where(large, x, 1) for x in (a, b, whole))
    return np.where(large, np.exp(gammaln(p) + gammaln(q) - gammaln(r)), product)


def _beta_vjp(
    v: Expression, y: Expression, a: Expression, b: Expression
) -> tuple[Expression, Expression]:
    whole = digamma(a + b)
    return v * (y * (digamma(a) - whole)), v * (y * (digamma(b) - whole))


beta = register(
    BaseFunction(
        name="beta",
        value=_beta,
        shape=broadcast_shape,
        definition=_beta,
        vjp=_beta_vjp,
        doc="The beta function, Γ(a) Γ(b) / Γ(a + b).",
    )
)
