"""Elementary functions of our own, as formulas over lanes.

Reduce the argument exactly enough, evaluate a short minimax polynomial, put the result
together: Muller, *Elementary Functions* (3rd ed., 2016), chapters 3, 4 and 11. The
polynomials are ours, by Remez's exchange with weights for the relative error of the
result; see docs/elementary.md, also for the bounds of the errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dtrain.engine.fused.lanes import (
    Lanes,
    at_least,
    at_most,
    rarely,
    select,
)

FRACTION = {"float32": 23, "float64": 52}
BIAS = {"float32": 127, "float64": 1023}

Coefficients = dict[str, tuple[float, ...]]


def polynomial(x: Lanes, coefficients: Sequence[float]) -> Lanes:
    """c₀ + c₁x + c₂x² + ..., in pairs (Estrin), for a short chain of operations."""
    terms: list[Lanes | float] = list(coefficients)
    while len(terms) > 1:
        last = terms[-1:] if len(terms) % 2 else []
        pairs = zip(terms[::2], terms[1::2], strict=False)
        terms = [low + x * high for low, high in pairs] + last
        x = x * x
    return x.like(terms[0])


def nearest(x: Lanes) -> tuple[Lanes, Lanes]:
    """The nearest integer of |x| < 2²² (float32) or 2⁵¹, and its word, two's complement.

    Added to a number so large that its last place is worth 1, x is rounded to even by
    the addition itself, and stands in the low bits of the sum.
    """
    large = 1.5 * 2.0 ** FRACTION[x.kind]
    shifted = x + large
    return shifted - large, shifted.bits() - x.like(large).bits()


def power_of_two(exponent: Lanes, kind: str) -> Lanes:
    """2ⁿ for words n that are exponents of normal numbers."""
    return ((exponent + BIAS[kind]) << FRACTION[kind]).number()


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
# Beyond these eˣ is 0 or infinite.
EXP_RANGE = {"float32": (-104.0, 89.0), "float64": (-746.0, 710.0)}


def _exponential(x: Lanes) -> tuple[Lanes, Lanes]:
    """eʳ − 1 and the word n with x = n·log 2 + r (Cody and Waite, 1980)."""
    n, word = nearest(x * LOG2_E)
    high, low = LOG_2[x.kind]
    r = (x - n * high) - n * low
    return r + r * r * polynomial(r, EXPONENTIAL[x.kind]), word


def _scaled(x: Lanes, exponent: Lanes) -> Lanes:
    """x·2ⁿ in two factors, so that one rounding makes a subnormal, 0 or infinity."""
    bias, fraction = BIAS[x.kind], FRACTION[x.kind]
    twice = exponent + 2 * bias
    half = twice >> 1
    first = (half << fraction).number()
    return x * first * ((twice - half) << fraction).number()


def exp(x: Lanes) -> Lanes:
    """eˣ."""
    lowest, highest = EXP_RANGE[x.kind]
    p, n = _exponential(at_most(highest, at_least(lowest, x)))
    return _scaled(1 + p, n)


def sigmoid(x: Lanes) -> Lanes:
    """1/(1 + e⁻ˣ), by way of e^−|x|, which is never large."""
    p, n = _exponential(at_least(EXP_RANGE[x.kind][0], -abs(x)))
    small = _scaled(1 + p, n)
    return select(x < 0, small, 1) / (1 + small)


# Beyond these tanh is ±1.
TANH_RANGE = {"float32": 10.0, "float64": 20.0}


def tanh(x: Lanes) -> Lanes:
    """t/(t + 2) with t = e^2|x| − 1."""
    p, n = _exponential(2 * at_most(TANH_RANGE[x.kind], abs(x)))
    scale = power_of_two(n, x.kind)
    t = p * scale + (scale - 1)
    return (t / (t + 2)).signed_like(x)


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
# π/2 in parts whose products with n are exact, but for the last.
HALF_PI = tuple(
    float.fromhex(part)
    for part in (
        "0x1.921fb544p+0",
        "0x1.0b4611a6p-34",
        "0x1.3198a2ep-69",
        "0x1.b839a252049c1p-104",
    )
)
# Where the products stay exact, and x·2/π good enough to round.
TURNS = {"float32": 2.0**13, "float64": 2.0**20}


def _quadrant(x: Lanes) -> tuple[Lanes, Lanes]:
    """r in ±π/4 and the word n with x = n·π/2 + r, for x ≥ 0 (Cody and Waite, 1980)."""
    n, word = nearest(x * TWO_OVER_PI)
    if x.kind == "float32":
        n, wide = n.to("float64"), x.to("float64")
        low = HALF_PI[1] + HALF_PI[2]
        r = ((wide - n * HALF_PI[0]) - n * low).to("float32")
    else:
        r = x
        for part in HALF_PI:
            r = r - n * part
    return rarely(~(x <= TURNS[x.kind]), payne_hanek, (x,), (r, word))


# 2/π in words of 32 bits, after two of zeros.
TWO_OVER_PI_BITS = int(
    "a2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561"
    "b7246e3a424dd2e006492eea09d1921cfe1deb1cb129a73ee88235f52ebb4484"
    "e99c7026b45f7e413991d639835339f49c845f8bbdf9283b1ff897ffde05980f"
    "ef2f118b5a0a6d1f6d367ecf27cb09b74f463f669e5fea2d7527bac7ebe5f17b"
    "3d0739f78a5292ea6bfb5fb11f8d5d0856033046fc7b6bab",
    16,
)
TWO_OVER_PI_WORDS = tuple(
    TWO_OVER_PI_BITS >> shift & 0xFFFFFFFF for shift in range(1248, -1, -32)
)
# π/2 in three parts; a product of the first two with 26 bits is exact.
HALF_PI_THIRDS = tuple(
    float.fromhex(part)
    for part in ("0x1.921fb5p+0", "0x1.110b46p-26", "0x1.1a62633145c07p-54")
)
LOW_WORD = 0xFFFFFFFF


def payne_hanek(x: Lanes) -> tuple[Lanes, ...]:
    """As ``_quadrant`` does, for x of any size from 2¹³; NaN for what is not finite.

    x is an integer of 53 bits times 2ᵉ. The bits of 2/π that give multiples of 4 do not
    matter, those far behind neither; 192 bits in the middle give x·2/π modulo 4 to
    2⁻¹³⁷, and no x comes nearer than 2⁻⁶² to a multiple (Payne and Hanek, *Radian
    reduction for trigonometric functions*, 1983; Muller, section 11.4).
    """
    if x.kind == "float32":
        r, word = payne_hanek(x.to("float64"))
        return r.to("float32"), word.to("word32")
    bits = x.bits()
    exponent = bits >> 52
    place = select(exponent < 1023 + 13, 1023 + 13, exponent) - 1013
    index, shift = place >> 5, place & 31
    words = [(index + i).lookup(TWO_OVER_PI_WORDS) for i in range(7)]
    window = [
        ((high << 32 | low) << shift) >> 32
        for high, low in zip(words, words[1:], strict=False)
    ]
    integer = bits & ((1 << 52) - 1) | (1 << 52)
    product = _low_product(window[::-1], integer & LOW_WORD, integer >> 32)
    fraction = [
        (high << 2 | low >> 30) & LOW_WORD
        for low, high in zip(product, product[1:], strict=False)
    ]
    # Above one half, it is taken as what is missing to the next quadrant.
    above = fraction[-1] >> 31
    r = _times_half_pi(*_magnitude(fraction, (above ^ above) - above))
    return _flip(r, above << 63) + (x - x), (product[-1] >> 30) + above


def _low_product(window: Sequence[Lanes], low: Lanes, high: Lanes) -> list[Lanes]:
    """The lowest words, as many as the window's, of its product with two words."""
    first, second = [], []
    carry = low ^ low
    for word in window:
        total = low * word + carry
        first.append(total & LOW_WORD)
        carry = total >> 32
    carry = low ^ low
    second.append(first[0])
    for word, other in zip(window, first[1:], strict=False):
        total = high * word + other + carry
        second.append(total & LOW_WORD)
        carry = total >> 32
    return second


def _magnitude(words: Sequence[Lanes], complement: Lanes) -> tuple[Lanes, Lanes]:
    """The words as a fraction, in two floats; all ones in ``complement`` negate it.

    When negated, the last word gets no +1, which is below what is known.
    """
    large = 2.0**52  # with a word in its low bits, its excess is the word's value
    floats = []
    for power, word in enumerate(reversed(words)):
        flipped = (word ^ complement) & LOW_WORD
        value = (flipped | ((1023 + 52) << 52)).number() - large
        floats.append(value * 2.0 ** (-32 * (power + 1)))
    rest = floats[3] + floats[4]
    high = floats[0] + floats[1]
    low = (floats[1] - (high - floats[0])) + (floats[2] + rest)
    total = high + low
    return total, low - (total - high)


def _times_half_pi(high: Lanes, low: Lanes) -> Lanes:
    """(high + low)·π/2, rounded about once (Dekker's splitting, 1971)."""
    first = (high.bits() & ~((1 << 27) - 1)).number()
    second = high - first
    a, b, c = HALF_PI_THIRDS
    return first * a + ((first * b + second * a) + (second * b + (low * a + high * c)))


def sincos(x: Lanes) -> tuple[Lanes, Lanes]:
    """The sine and the cosine, which share the reduction and the polynomials."""
    r, quadrant = _quadrant(abs(x))
    z = r * r
    sine = r + r * z * polynomial(z, SINE[x.kind])
    cosine = 1 - (z * 0.5 - z * z * polynomial(z, COSINE[x.kind]))
    swap = (quadrant & 1) != 0
    top = FRACTION[x.kind] - 1 + (8 if x.kind == "float32" else 11)
    return (
        _flip(
            select(swap, cosine, sine),
            ((quadrant & 2) << top) ^ (x.bits() & x.sign_bit),
        ),
        _flip(select(swap, sine, cosine), ((quadrant + 1) & 2) << top),
    )


def _flip(x: Lanes, sign: Lanes) -> Lanes:
    return (x.bits() ^ sign).number()


def sin(x: Lanes) -> Lanes:
    """The sine."""
    return sincos(x)[0]


def cos(x: Lanes) -> Lanes:
    """The cosine."""
    return sincos(x)[1]


FUNCTIONS: dict[str, Callable[..., Lanes]] = {
    "cos": cos,
    "exp": exp,
    "sigmoid": sigmoid,
    "sin": sin,
    "sqrt": Lanes.sqrt,
    "tanh": tanh,
}
