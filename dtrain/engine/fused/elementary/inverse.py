"""Inverse trigonometric and hyperbolic functions."""

from __future__ import annotations

import math

from dtrain.engine.fused.elementary.exponential import LOG_2_NEAREST
from dtrain.engine.fused.elementary.logarithm import log1p
from dtrain.engine.fused.elementary.steps import Coefficients, polynomial
from dtrain.engine.fused.lanes.lanes import Lanes, select

# (arctan t − t)/t³ in t², for |t| ≤ 1/2
ARCTAN: Coefficients = {
    "float32": (
        -0.33333236534682614,
        0.19994312088925437,
        -0.14176028197737867,
        0.10164792234912425,
        -0.05140326793650123,
    ),
    "float64": (
        -0.33333333333332993,
        0.19999999999905269,
        -0.14285714276557593,
        0.11111110666445564,
        -0.09090896401565723,
        0.07692076183330052,
        -0.06663832152583951,
        0.058584347162691286,
        -0.051225701073207265,
        0.04187988924640729,
        -0.027457357461430534,
        0.010131629247310339,
    ),
}
TAN_THREE_EIGHTHS = 2.414213562373095
# π/2 in two parts.
HALF_PI = {
    "float32": (float.fromhex("0x1.921fb6p+0"), float.fromhex("-0x1.777a5cp-25")),
    "float64": (1.5707963267948966, 6.123233995736766e-17),
}


def _angle(a: Lanes, b: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """Return the arctangent of a/b for a, b ≥ 0, as a sum of three, the largest first.

    It is the arctangent of t, at most 1/2, plus π/4 or π/2: t is (a − b)/(a + b) or
    −b/a.
    """
    middle, large = a > 0.5 * b, a > TAN_THREE_EIGHTHS * b
    over = select(large, -b, select(middle, a - b, a))
    under = select(large, a, select(middle, a + b, b))
    t = over / under
    z = t * t
    high, low = (
        select(large, part, select(middle, a.like(part / 2), 0))
        for part in HALF_PI[a.kind]
    )
    return high, t, t * z * polynomial(z, ARCTAN[a.kind]) + low


def arctan(x: Lanes) -> Lanes:
    """Return the angle of (1, x)."""
    high, t, rest = _angle(abs(x), x.like(1))
    return (high + (t + rest)).signed_like(x)


def arctan2(y: Lanes, x: Lanes) -> Lanes:
    """Return the angle of (x, y), from −π to π."""
    a, b = abs(y), abs(x)
    # Equal where both are infinite; b not 0 where both are; and no sum overflows.
    both = (a == math.inf) & (b == math.inf)
    a, b = select(both, 1, a), select(both, 1, b)
    b = select((a == 0) & (b == 0), 1, b)
    smaller = select((a > LARGE[x.kind]) | (b > LARGE[x.kind]), x.like(0.25), 1)
    high, t, rest = _angle(a * smaller, b * smaller)
    turn, turn_low = HALF_PI[x.kind]
    behind = ((2 * turn - high) - t) - (rest - 2 * turn_low)
    negative = (x.bits() & x.sign_bit) != 0
    return select(
        (x != x) | (y != y),
        math.nan,
        select(negative, behind, high + (t + rest)).signed_like(y),
    )


LARGE = {"float32": 2.0**120, "float64": 2.0**1000}

# (arcsin t − t)/t³ in t², for t ≤ 1/2
ARCSIN: Coefficients = {
    "float32": (
        0.16666754131195946,
        0.07495232623187141,
        0.045478350275449775,
        0.024140952480593898,
        0.04223060781928714,
    ),
    "float64": (
        0.16666666666665375,
        0.07500000000344835,
        0.04464285682195273,
        0.030381959396188516,
        0.022371751926400008,
        0.0173597957432659,
        0.01388434997929213,
        0.012174943024142196,
        0.00650352453442225,
        0.01959431411179592,
        -0.01632663107721564,
        0.0319816364618797,
    ),
}


def _arcsine_parts(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """Return |x| > ½; t = √((1 − |x|)/2) there, else |x|; and arcsin t − t."""
    a = abs(x)
    large = a > 0.5
    z = select(large, (1 - a) * 0.5, a * a)
    t = select(large, z.sqrt(), a)
    return large, t, t * z * polynomial(z, ARCSIN[x.kind])


def arcsin(x: Lanes) -> Lanes:
    """Return arcsin x; above 1/2 it is π/2 − 2·arcsin √((1 − x)/2)."""
    large, t, rest = _arcsine_parts(x)
    high, low = HALF_PI[x.kind]
    turned = (high - 2 * t) - (2 * rest - low)
    return select(large, turned, t + rest).signed_like(x)


def arccos(x: Lanes) -> Lanes:
    """Return the angle with the cosine x."""
    large, t, rest = _arcsine_parts(x)
    high, low = HALF_PI[x.kind]
    positive = select(large, 2 * (t + rest), (high - t) - (rest - low))
    obtuse = (2 * high - 2 * t) - (2 * rest - 2 * low)
    negative = select(large, obtuse, (high + t) + (rest + low))
    return select(x < 0, negative, positive)


# Above this x² ± 1 rounds to x².
HUGE = {"float32": 2.0**14, "float64": 2.0**28}


def arcsinh(x: Lanes) -> Lanes:
    """Return log(1 + a + a²/(1 + √(1 + a²))), a = |x|; log(2a) for a huge a."""
    a = abs(x)
    huge = a > HUGE[x.kind]
    square = select(huge, 0, a * a)
    t = select(huge, a - 1, a + square / (1 + (1 + square).sqrt()))
    return (log1p(t) + select(huge, x.like(LOG_2_NEAREST), 0)).signed_like(x)


def arccosh(x: Lanes) -> Lanes:
    """Return log(1 + t + √(2t + t²)), t = x − 1; log(2x) for a huge x."""
    huge = x > HUGE[x.kind]
    t = x - 1
    near = select(huge, t, t + (2 * t + t * t).sqrt())
    result = log1p(near) + select(huge, x.like(LOG_2_NEAREST), 0)
    return select(x >= 1, result, math.nan)


def arctanh(x: Lanes) -> Lanes:
    """Return half of log(1 + 2a/(1 − a)), a = |x|."""
    a = abs(x)
    return (0.5 * log1p(2 * (a / (1 - a)))).signed_like(x)
