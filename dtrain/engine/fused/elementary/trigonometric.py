"""Sine, cosine and tangent."""

from __future__ import annotations

from dtrain.engine.fused.elementary.payne_hanek import payne_hanek
from dtrain.engine.fused.elementary.steps import (
    Coefficients,
    flipped,
    nearest,
    polynomial,
)
from dtrain.engine.fused.lanes.lanes import Lanes, rarely, select

# (sin r − r)/r³ and (cos r − 1 + r²/2)/r⁴ in r², for |r| ≤ π/4
SINE: Coefficients = {
    "float32": (-0.16666654873478387, 0.00833217354337629, -0.00019516655821591667),
    "float64": (
        -0.16666666666666632,
        0.008333333333322314,
        -0.0001984126982972496,
        2.7557313661981233e-06,
        -2.505075325383023e-08,
        1.58965043884065e-10,
    ),
}
COSINE: Coefficients = {
    "float32": (0.041666646751724504, -0.0013887361644249986, 2.443775074642682e-05),
    "float64": (
        0.0416666666666666,
        -0.001388888888887399,
        2.480158728939496e-05,
        -2.7557314326040704e-07,
        2.0875719560018226e-09,
        -1.1359448744830821e-11,
    ),
}
TWO_OVER_PI = 0.6366197723675814
# π/2 in parts; products of all but the last with 20 bits are exact.
HALF_PI = tuple(
    float.fromhex(part)
    for part in (
        "0x1.921fb544p+0",
        "0x1.0b4611a6p-34",
        "0x1.3198a2ep-69",
        "0x1.b839a252049c1p-104",
    )
)
# Above these the products are not exact, or x·2/π is too inaccurate to round.
HIGHEST = {"float32": 2.0**13, "float64": 2.0**20}
SIGN = {"float32": 30, "float64": 62}


def _reduced(x: Lanes) -> tuple[Lanes, ...]:
    """Return r in ±π/4 and the word n with x = n·π/2 + r, for x ≥ 0."""
    n, word = nearest(x * TWO_OVER_PI)
    if x.kind == "float32":
        n, wide = n.to("float64"), x.to("float64")
        r = ((wide - n * HALF_PI[0]) - n * (HALF_PI[1] + HALF_PI[2])).to("float32")
    else:
        a, b, c, d = (n * part for part in HALF_PI)
        first = x - a
        second = first - b
        lost = (first - second) - b
        r = (second + (lost - c)) - d
    return rarely(~(x <= HIGHEST[x.kind]), payne_hanek, (x,), (r, word))


def sincos(x: Lanes) -> tuple[Lanes, Lanes]:
    """Return the sine and the cosine, which share the reduction and the polynomials."""
    r, quadrant = _reduced(abs(x))
    z = r * r
    sine = r + r * z * polynomial(z, SINE[x.kind])
    cosine = 1 - (z * 0.5 - z * z * polynomial(z, COSINE[x.kind]))
    swap = (quadrant & 1) != 0
    sign = (quadrant & 2) << SIGN[x.kind]
    return (
        flipped(select(swap, cosine, sine), sign ^ (x.bits() & x.sign_bit)),
        flipped(select(swap, sine, cosine), ((quadrant + 1) & 2) << SIGN[x.kind]),
    )


def sin(x: Lanes) -> Lanes:
    """Return the sine."""
    return sincos(x)[0]


def cos(x: Lanes) -> Lanes:
    """Return the cosine."""
    return sincos(x)[1]


def tan(x: Lanes) -> Lanes:
    """Return the tangent: sine over cosine."""
    sine, cosine = sincos(x)
    return sine / cosine
