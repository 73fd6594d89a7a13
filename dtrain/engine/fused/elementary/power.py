"""Powers, from a base-2 logarithm with more digits than the result.

The scheme is that of fdlibm's e_pow.c (Sun Microsystems, 1993): y·log₂(x) in two
floats.
"""

from __future__ import annotations

import math

from dtrain.engine.fused.elementary.exponential import LOG_2_NEAREST, exp2, remainder
from dtrain.engine.fused.elementary.logarithm import log2, parts
from dtrain.engine.fused.elementary.steps import (
    FRACTION,
    flipped,
    nearest,
    polynomial,
    scaled,
    upper,
)
from dtrain.engine.fused.lanes.lanes import Lanes, at_least, at_most, select

# (3·artanh(s)/s − 3 − s²)/s⁴ in s²
SERIES = (
    0.6000000000000343,
    0.4285714285512554,
    0.33333333784330316,
    0.27272676145976443,
    0.2308015530819575,
    0.19884762476153126,
    0.19798926131266334,
)
# 2/(3·log 2) in two parts.
TO_LOG2 = (float.fromhex("0x1.ec709d8p-1"), float.fromhex("0x1.0e80ff5d27f05p-27"))
# A larger exponent takes every x except 1 to 0 or infinity.
HIGHEST = 2.0**70


def _log2(x: Lanes) -> tuple[Lanes, Lanes]:
    """Return log₂(x) for x > 0 in two floats, the first with half of the digits."""
    m, k = parts(x)
    f = m - 1
    inverse = 1 / (m + 1)
    s = f * inverse
    s_high = upper(s)
    d_high = upper(m + 1)
    d_low = m - (d_high - 1)
    s_low = ((f - s_high * d_high) - s_high * d_low) * inverse
    z, z_high = s * s, s_high * s_high
    rest = z * z * polynomial(z, SERIES) + s_low * (s_high + s)
    t_high = upper(3 + z_high + rest)
    t_low = rest - ((t_high - 3) - z_high)
    # s·t is 3·artanh(s).
    a = s_high * t_high
    b = s_low * t_high + t_low * s
    high = upper(a + b)
    low = b - (high - a)
    scale, scale_low = TO_LOG2
    a = scale * high
    b = scale_low * high + low * (scale + scale_low)
    high = upper((a + b) + k)
    return high, b - ((high - k) - a)


def _magnitude(x: Lanes, y: Lanes) -> Lanes:
    """Return the power for finite x > 0."""
    y = at_most(HIGHEST, at_least(-HIGHEST, y))
    if x.kind == "float32":
        # Logarithms in float64 have enough digits.
        wide = log2(x.to("float64")) * y.to("float64")
        return exp2(wide).to("float32")
    high, low = _log2(x)
    y_high = upper(y)
    a = y_high * high
    b = (y - y_high) * high + y * low
    total = a + b
    rest = b - (total - a)
    clamped = at_most(1025.0, at_least(-1080.0, total))
    n, word = nearest(clamped)
    r = ((clamped - n) + select(total == clamped, rest, 0)) * LOG_2_NEAREST
    return scaled(1 + (r + remainder(r)), word)


def power(x: Lanes, y: Lanes) -> Lanes:
    """Return x to the power y, with the special cases of C99 and NumPy."""
    a = abs(x)
    result = select(a == 0, select(y < 0, math.inf, x.like(0)), _magnitude(a, y))
    result = select(a == math.inf, select(y < 0, 0, x.like(math.inf)), result)
    integer, odd = _parity(abs(y))
    result = flipped(result, select(odd, x.bits() & x.sign_bit, 0))
    result = select((x < 0) & ~integer & (a != math.inf), math.nan, result)
    result = select((x != x) | (y != y), math.nan, result)
    return select((y == 0) | (x == 1), 1, result)


def _parity(y: Lanes) -> tuple[Lanes, Lanes]:
    """Return whether y ≥ 0 is an integer, and whether it is an odd integer."""
    large = 2.0 ** FRACTION[y.kind]  # above this all floats are integers
    shifted = y + large
    integer = (y >= large) | (shifted - large == y)
    last = select(y < large, shifted.bits(), select(y < 2 * large, y.bits(), 0))
    return integer, integer & ((last & 1) != 0)
