"""The logarithm of the gamma function and its derivative.

Arguments below 1/2 are reflected to 1 - x. Arguments below 8 are moved up by 8 with
the recurrence. Stirling's series is accurate for all others.
"""

from __future__ import annotations

import math

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
