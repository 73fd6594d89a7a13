"""The cube root and the hypotenuse."""

from __future__ import annotations

import math

from dtrain.engine.fused.elementary.logarithm import parts
from dtrain.engine.fused.elementary.steps import nearest, polynomial, scaled
from dtrain.engine.fused.lanes.lanes import Lanes, maximum, minimum, select

# ∛x for x from 2^-3/2 to 2^3/2, to a relative error of 1/500
CUBE_ROOT = (
    0.4435390488524503,
    0.8983996178492218,
    -0.47380365086130677,
    0.15323837177534536,
    -0.01952941107389306,
)


def cbrt(x: Lanes) -> Lanes:
    """Return the cube root: a polynomial, then Halley's iteration (Muller, 5.5)."""
    a = abs(x)
    m, k = parts(a)
    third, word = nearest(k * (1 / 3))
    m = m * (1 + ((k - 3 * third) * (0.75 + 0.25 * (k - 3 * third))))
    y = polynomial(m, CUBE_ROOT)
    for _ in range(1 if x.kind == "float32" else 2):
        cube = y * y * y
        y = y - y * ((cube - m) / (2 * cube + m))
    result = scaled(y, word).signed_like(x)
    return select((a > 0) & (a < math.inf), result, x)


def hypot(x: Lanes, y: Lanes) -> Lanes:
    """Return √(x² + y²) without overflow of the squares."""
    a, b = abs(x), abs(y)
    large, small = maximum(a, b), minimum(a, b)
    ratio = small / select(large == 0, 1, large)
    result = large * (1 + ratio * ratio).sqrt()
    return select((a == math.inf) | (b == math.inf), math.inf, result)
