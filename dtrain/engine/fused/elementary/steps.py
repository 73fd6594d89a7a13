"""The steps that elementary functions are made of: reduce, evaluate, scale."""

from __future__ import annotations

from collections.abc import Sequence

from dtrain.engine.fused.lanes.lanes import Lanes

FRACTION = {"float32": 23, "float64": 52}
BIAS = {"float32": 127, "float64": 1023}

Coefficients = dict[str, tuple[float, ...]]


def polynomial(x: Lanes, coefficients: Sequence[float]) -> Lanes:
    """c₀ + c₁x + c₂x² + ..., in pairs (Estrin), for a short chain of operations."""
    terms: list[Lanes] = [x.like(coefficient) for coefficient in coefficients]
    while len(terms) > 1:
        last = terms[-1:] if len(terms) % 2 else []
        pairs = zip(terms[::2], terms[1::2], strict=False)
        terms = [low + x * high for low, high in pairs] + last
        x = x * x
    return terms[0]


def nearest(x: Lanes) -> tuple[Lanes, Lanes]:
    """The integer nearest to |x| < 2²² (float32) or 2⁵¹, and its two's complement.

    Added to a number so large that its last place is worth 1, x is rounded to even by
    the addition itself, and stands in the low bits of the sum.
    """
    large = 1.5 * 2.0 ** FRACTION[x.kind]
    shifted = x + large
    return shifted - large, shifted.bits() - x.like(large).bits()


def power_of_two(exponent: Lanes, kind: str) -> Lanes:
    """2ⁿ for words n that are exponents of normal numbers, or 0 for the next below."""
    return ((exponent + BIAS[kind]) << FRACTION[kind]).number()


def scaled(x: Lanes, exponent: Lanes) -> Lanes:
    """x·2ⁿ in two factors, so that one rounding makes a subnormal, 0 or infinity."""
    bias, fraction = BIAS[x.kind], FRACTION[x.kind]
    twice = exponent + 2 * bias
    half = twice >> 1
    first = (half << fraction).number()
    return x * first * ((twice - half) << fraction).number()


def upper(x: Lanes) -> Lanes:
    """The upper half of a float64's digits, whose products are exact (Dekker, 1971)."""
    return (x.bits() & ~((1 << 27) - 1)).number()


def flipped(x: Lanes, sign: Lanes) -> Lanes:
    """−x where the word ``sign`` is the sign bit, x where it is 0."""
    return (x.bits() ^ sign).number()
