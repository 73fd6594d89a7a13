"""Logarithms, by the series of 2·artanh(s), s = f/(2 + f), for log(1 + f).

The reduction is that of fdlibm's e_log.c (K. C. Ng, 1993).
"""

from __future__ import annotations

import math

from dtrain.engine.fused.elementary.exponential import LOG2_E, LOG_2
from dtrain.engine.fused.elementary.steps import (
    BIAS,
    FRACTION,
    Coefficients,
    polynomial,
)
from dtrain.engine.fused.lanes.lanes import Lanes, at_most, select

# (2·artanh(s)/s − 2)/s² in s², for s ≤ (√2 − 1)/(√2 + 1)
ARTANH: Coefficients = {
    "float32": (0.6666677705387138, 0.399774494504154, 0.2987442124865895),
    "float64": (
        0.6666666666666735,
        0.39999999999407493,
        0.28571428744141075,
        0.22222198378499694,
        0.18183575164373356,
        0.15313755790567787,
        0.14799065769330974,
    ),
}
# The word of √½, and the exponent that makes a subnormal number normal.
ROOT_HALF = {"float32": 0x3F3504F3, "float64": 0x3FE6A09E667F3BCD}
LIFT = 60


def parts(x: Lanes) -> tuple[Lanes, Lanes]:
    """Return m in [√½, √2) and the number k with x = m·2ᵏ, for x > 0."""
    bias, fraction = BIAS[x.kind], FRACTION[x.kind]
    small = x < 2.0 ** (1 - bias)
    bits = select(small, x * 2.0**LIFT, x).bits()
    biased = (bits + ((bias << fraction) - ROOT_HALF[x.kind])) >> fraction
    m = (bits - ((biased - bias) << fraction)).number()
    # Put the word into the low bits of 2^fraction to convert it.
    shifted = (biased | ((bias + fraction) << fraction)).number()
    origin = 2.0**fraction + bias
    return m, shifted - select(small, x.like(origin + LIFT), origin)


def tail(f: Lanes) -> Lanes:
    """Return f − log(1 + f), for 1 + f in [√½, √2)."""
    s = f / (2 + f)
    z = s * s
    half_square = 0.5 * f * f
    return half_square - s * (half_square + z * polynomial(z, ARTANH[f.kind]))


def _finished(x: Lanes, y: Lanes) -> Lanes:
    """Return the logarithm y of x, corrected for x of 0, infinity, NaN, or negative."""
    outside = select(x == 0, -math.inf, x.like(math.nan))
    return select(x > 0, select(x < math.inf, y, math.inf), outside)


def log(x: Lanes) -> Lanes:
    """Return the natural logarithm."""
    m, k = parts(x)
    high, low = LOG_2[x.kind]
    f = m - 1
    return _finished(x, k * high + (f - (tail(f) - k * low)))


def log2(x: Lanes) -> Lanes:
    """Return the logarithm to base 2."""
    m, k = parts(x)
    f = m - 1
    return _finished(x, k + (f - tail(f)) * LOG2_E)


LOG10_E = 0.4342944819032518
# log₁₀(2) in two parts, as LOG_2.
LOG10_2 = {
    "float32": (
        float.fromhex("0x1.3440000000p-2"),
        float.fromhex("0x1.3509f80000000p-18"),
    ),
    "float64": (
        float.fromhex("0x1.34413509f8000p-2"),
        float.fromhex("-0x1.80433b83b532ap-44"),
    ),
}


def log10(x: Lanes) -> Lanes:
    """Return the logarithm to base 10."""
    m, k = parts(x)
    f = m - 1
    high, low = LOG10_2[x.kind]
    return _finished(x, k * high + ((f - tail(f)) * LOG10_E + k * low))


# This minus the word of x is the word of 1/x, to 13 %: it subtracts the exponents.
INVERSE = {"float32": 0x7EF311C7, "float64": 0x7FDE6238502484BA}


def log1p(x: Lanes) -> Lanes:
    """Return log(1 + x), with the rounding error of 1 + x added to first order."""
    total = 1 + x
    m, k = parts(total)
    near = k == 0
    f = select(near, x, m - 1)
    # Above this bound 1 + x is x, and its reciprocal is not used.
    bounded = at_most(2.0**60, total)
    inverse = (INVERSE[x.kind] - bounded.bits()).number()
    lost = select(near, 0, (x - (total - 1)) * inverse)
    high, low = LOG_2[x.kind]
    rest = f - (tail(f) - (k * low + lost))
    return _finished(total, select(near, rest, k * high + rest))
