"""Exponentials and hyperbolic functions."""

from __future__ import annotations

from dtrain.engine.fused.elementary.steps import (
    Coefficients,
    nearest,
    polynomial,
    power_of_two,
    scaled,
)
from dtrain.engine.fused.lanes.lanes import Lanes, at_least, at_most, select

# (eʳ − 1 − r)/r² for |r| ≤ log(2)/2
EXPONENTIAL: Coefficients = {
    "float32": (
        0.5000000062638199,
        0.1666654204824628,
        0.04166627910663303,
        0.008366710656070786,
        0.001394666869374006,
    ),
    "float64": (
        0.5,
        0.16666666666666677,
        0.0416666666666667,
        0.008333333333321436,
        0.0013888888888866488,
        0.00019841269886673675,
        2.480158736125717e-05,
        2.7557243608892397e-06,
        2.7557242153026165e-07,
        2.5109261906943333e-08,
        2.092463260173863e-09,
    ),
}
LOG2_E = 1.4426950408889634
# log(2) in two parts, the first so short that its products with n are exact.
LOG_2 = {
    "float32": (float.fromhex("0x1.62e4p-1"), float.fromhex("0x1.7f7d1cp-20")),
    "float64": (
        float.fromhex("0x1.62e42fefa4p-1"),
        float.fromhex("-0x1.8432a1b0e2634p-43"),
    ),
}
# Outside of these bounds eˣ and eˣ/2 are 0 or infinite.
RANGE = {"float32": (-104.0, 89.5), "float64": (-746.0, 710.6)}


def remainder(r: Lanes) -> Lanes:
    """Return eʳ − 1 − r for |r| ≤ log(2)/2."""
    return r * r * polynomial(r, EXPONENTIAL[r.kind])


def reduced(x: Lanes) -> tuple[Lanes, Lanes]:
    """Return r in ±log(2)/2 and the word n with x = n·log 2 + r (Cody and Waite)."""
    n, word = nearest(x * LOG2_E)
    high, low = LOG_2[x.kind]
    return (x - n * high) - n * low, word


def exp(x: Lanes) -> Lanes:
    """Return eˣ."""
    lowest, highest = RANGE[x.kind]
    r, n = reduced(at_most(highest, at_least(lowest, x)))
    return scaled(1 + (r + remainder(r)), n)


def exp2(x: Lanes) -> Lanes:
    """Return 2ˣ."""
    lowest, highest = RANGE[x.kind]
    x = at_most(highest * LOG2_E, at_least(lowest * LOG2_E, x))
    n, word = nearest(x)
    r = (x - n) * LOG_2_NEAREST
    return scaled(1 + (r + remainder(r)), word)


LOG_2_NEAREST = 0.6931471805599453


def _expm1_quarter(x: Lanes) -> Lanes:
    """Return a quarter of eˣ − 1, which does not overflow while eˣ/2 does not."""
    r, n = reduced(x)
    rest = remainder(r)
    scale = power_of_two(n - 2, x.kind)
    # The larger part first: the difference is exact.
    quarter = (scale * r + (scale - 0.25)) + scale * rest
    return select(n == 0, 0.25 * (r + rest), quarter)


def expm1(x: Lanes) -> Lanes:
    """Return eˣ − 1."""
    lowest = {"float32": -20.0, "float64": -40.0}[x.kind]
    quarter = _expm1_quarter(at_most(RANGE[x.kind][1], at_least(lowest, x)))
    return select(abs(x) < TINY[x.kind], x, 4 * quarter)


# Below this x² is negligible, and a quarter of x would lose digits.
TINY = {"float32": 2.0**-26, "float64": 2.0**-54}


def sinh(x: Lanes) -> Lanes:
    """Return (t + t/(t + 1))/2 with t = e^|x| − 1, which is exact near 0."""
    quarter = _expm1_quarter(at_most(RANGE[x.kind][1], abs(x)))
    result = 2 * (quarter + quarter / (4 * quarter + 1))
    return select(abs(x) < TINY[x.kind], x, result.signed_like(x))


def cosh(x: Lanes) -> Lanes:
    """Return half of e^|x| plus its inverse, without early overflow."""
    r, n = reduced(at_most(RANGE[x.kind][1], abs(x)))
    half = scaled(1 + (r + remainder(r)), n - 1)
    return half + 0.25 / half


def sigmoid(x: Lanes) -> Lanes:
    """Return 1/(1 + e⁻ˣ), computed from e^−|x|, which does not overflow."""
    r, n = reduced(at_least(RANGE[x.kind][0], -abs(x)))
    small = scaled(1 + (r + remainder(r)), n)
    under = 1 + small
    quotient = select(x < 0, small, 1) / under
    # The rounding error of the sum, to first order.
    return quotient - quotient * (small - (under - 1))


# (tanh x − x)/x³ = P/Q in x², for x ≤ log(3)/2
TANH_OVER: Coefficients = {
    "float32": (-0.33333321734175414, -0.0015519017464641553),
    "float64": (-0.3333333333333333, -0.02050045492423135, -0.00019925142035465333),
}
TANH_UNDER: Coefficients = {
    "float32": (1.0, 0.404648328856315),
    "float64": (
        1.0,
        0.46150136477268994,
        0.023293538265469222,
        0.00020661233147067592,
    ),
}
TANH_HALF = 0.5493061443340548
# Outside of these bounds tanh is ±1.
TANH_RANGE = {"float32": 10.0, "float64": 20.0}


def tanh(x: Lanes) -> Lanes:
    """Return 1 − 2/(e²ˣ + 1), or below 1/2 a rational function, with one division."""
    a = at_most(TANH_RANGE[x.kind], abs(x))
    r, n = reduced(a + a)
    power = (1 + (r + remainder(r))) * power_of_two(n, x.kind)
    z = a * a
    small = a < TANH_HALF
    over = a * z * polynomial(z, TANH_OVER[x.kind])
    under = polynomial(z, TANH_UNDER[x.kind])
    change = select(small, over, -2) / select(small, under, power + 1)
    return (select(small, a, 1) + change).signed_like(x)
