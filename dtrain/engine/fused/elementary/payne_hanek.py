"""Reduction of arguments of any size by π/2, in integer arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dtrain.engine.fused.elementary.steps import flipped, upper
from dtrain.engine.fused.lanes.lanes import Lanes, select

# 2/π in words of 32 bits, after two words of zeros.
BITS = int(
    "a2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561"
    "b7246e3a424dd2e006492eea09d1921cfe1deb1cb129a73ee88235f52ebb4484"
    "e99c7026b45f7e413991d639835339f49c845f8bbdf9283b1ff897ffde05980f"
    "ef2f118b5a0a6d1f6d367ecf27cb09b74f463f669e5fea2d7527bac7ebe5f17b"
    "3d0739f78a5292ea6bfb5fb11f8d5d0856033046fc7b6bab",
    16,
)
WORDS = tuple(BITS >> shift & 0xFFFFFFFF for shift in range(1248, -1, -32))
# π/2 in three parts; the upper half of a float times one of the first two is exact.
HALF_PI = tuple(
    float.fromhex(part)
    for part in ("0x1.921fb5p+0", "0x1.110b46p-26", "0x1.1a62633145c07p-54")
)
LOW = 0xFFFFFFFF


def payne_hanek(x: Lanes) -> tuple[Lanes, ...]:
    """Return r in ±π/4 and the word n mod 4 with x = n·π/2 + r, for x ≥ 2¹³.

    x is an integer of 53 bits times 2ᵉ. The bits of 2/π that give multiples of 4 are
    not
    needed, nor are the last ones: 192 bits in the middle give x·2/π modulo 4 to 2⁻¹³⁷,
    and no x is closer than 2⁻⁶² to a multiple (Payne and Hanek, *Radian reduction for
    trigonometric functions*, 1983; Muller, section 11.4). For NaN and infinity r is
    NaN.
    """
    if x.kind == "float32":
        r, word = payne_hanek(x.to("float64"))
        return r.to("float32"), word.to("word32")
    bits = x.bits()
    exponent = bits >> 52
    position = select(exponent < 1023 + 13, 1023 + 13, exponent) - 1013
    index, shift = position >> 5, position & 31
    words = [(index + i).lookup(WORDS) for i in range(7)]
    window = [((high << 32 | low) << shift) >> 32 for high, low in pairwise(words)]
    integer = bits & ((1 << 52) - 1) | (1 << 52)
    product = _low_product(window[::-1], integer & LOW, integer >> 32)
    fraction = [(high << 2 | low >> 30) & LOW for low, high in pairwise(product)]
    # Above one half, use the distance to the next quadrant.
    above = fraction[-1] >> 31
    r = _times_half_pi(*_magnitude(fraction, (above ^ above) - above))
    return flipped(r, above << 63) + (x - x), (product[-1] >> 30) + above


def _low_product(window: Sequence[Lanes], low: Lanes, high: Lanes) -> list[Lanes]:
    """Return the lowest words of a product with two words, as many as the window's."""
    result = [low ^ low] * len(window)
    for start, factor in enumerate((low, high)):
        carry = low ^ low
        for i, word in enumerate(window[: len(window) - start], start):
            total = factor * word + result[i] + carry
            result[i] = total & LOW
            carry = total >> 32
    return result


def _magnitude(words: Sequence[Lanes], complement: Lanes) -> tuple[Lanes, Lanes]:
    """Return the words as a fraction in two floats; ``complement`` of ones negates it.

    A negated fraction lacks +1 in the last word, which is below the known digits.
    """
    floats = []
    for power, word in enumerate(reversed(words), start=1):
        # Put the word into the low bits of 2⁵² to convert it.
        shifted = ((word ^ complement) & LOW | ((1023 + 52) << 52)).number()
        floats.append((shifted - 2.0**52) * 2.0 ** (-32 * power))
    high = floats[0] + floats[1]
    low = (floats[1] - (high - floats[0])) + (floats[2] + (floats[3] + floats[4]))
    total = high + low
    return total, low - (total - high)


def _times_half_pi(high: Lanes, low: Lanes) -> Lanes:
    """Return (high + low)·π/2 with almost one rounding (Dekker, 1971)."""
    first = upper(high)
    second = high - first
    a, b, c = HALF_PI
    return first * a + ((first * b + second * a) + (second * b + (low * a + high * c)))
