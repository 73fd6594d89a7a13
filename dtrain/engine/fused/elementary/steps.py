"""Building blocks of elementary functions: reduce, evaluate, scale."""

from __future__ import annotations

from collections.abc import Sequence

from dtrain.engine.fused.lanes.lanes import Lanes

FRACTION = {"float32": 23, "float64": 52}
BIAS = {"float32": 127, "float64": 1023}

Coefficients = dict[str, tuple[float, ...]]


def polynomial(x: Lanes, coefficients: Sequence[float]) -> Lanes:
    """Return c₀ + c₁x + c₂x² + ..., in pairs (Estrin), for a short dependency chain."""
    terms: list[Lanes] = [x.like(coefficient) for coefficient in coefficients]
    while len(terms) > 1:
        last = terms[-1:] if len(terms) % 2 else []
        pairs = zip(terms[::2], terms[1::2], strict=False)
        terms = [low + x * high for low, high in pairs] + last
        x = x * x
    return terms[0]


def nearest(x: Lanes) -> tuple[Lanes, Lanes]:
    """Return the integer nearest to |x| < 2²² (float32) or 2⁵¹, as float and as word.

    Adding a number so large that its last digit is worth 1 rounds x to even, and leaves
    the integer in the low bits of the sum.
    """
    large = 1.5 * 2.0 ** FRACTION[x.kind]
    shifted = x + large
    return shifted - large, shifted.bits() - x.like(large).bits()


def power_of_two(exponent: Lanes, kind: str) -> Lanes:
    """Return 2ⁿ for words n that are exponents of normal numbers; 0 one below them."""
    return ((exponent + BIAS[kind]) << FRACTION[kind]).number()


def scaled(x: Lanes, exponent: Lanes) -> Lanes:
    """Return x·2ⁿ, by two factors, so that a subnormal result is rounded once."""
    bias, fraction = BIAS[x.kind], FRACTION[x.kind]
    twice = exponent + 2 * bias
    half = twice >> 1
    first = (half << fraction).number()
    return x * first * ((twice - half) << fraction).number()


def upper(x: Lanes) -> Lanes:
    """Return the upper half of a float64's digits; products are exact (Dekker)."""
    return (x.bits() & ~((1 << 27) - 1)).number()


def flipped(x: Lanes, sign: Lanes) -> Lanes:
    """Return −x where the word ``sign`` is the sign bit, x where it is 0."""
    return (x.bits() ^ sign).number()
