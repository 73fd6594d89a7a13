"""Exponentials, logarithms, and trigonometric and hyperbolic functions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dtrain.functions.base import (
    BaseFunction,
    broadcast_shape,
    elementwise,
    register,
)

exp = elementwise(np.exp, lambda v, y, x: (v * y,), doc="eˣ.")

expm1 = elementwise(
    np.expm1, lambda v, y, x: (v * (y + 1),), doc="eˣ − 1, exact near 0."
)

log = elementwise(np.log, lambda v, y, x: (v / x,), doc="The natural logarithm.")

log1p = elementwise(
    np.log1p, lambda v, y, x: (v / (1 + x),), doc="log(1 + x), exact near 0."
)

sin = elementwise(np.sin, lambda v, y, x: (v * np.cos(x),), doc="The sine.")

cos = elementwise(np.cos, lambda v, y, x: (-(v * np.sin(x)),), doc="The cosine.")

tan = elementwise(np.tan, lambda v, y, x: (v * (1 + y * y),), doc="The tangent.")

arctan = elementwise(
    np.arctan, lambda v, y, x: (v / (1 + x * x),), doc="The inverse tangent."
)

sinh = elementwise(
    np.sinh, lambda v, y, x: (v * np.cosh(x),), doc="The hyperbolic sine."
)

cosh = elementwise(
    np.cosh, lambda v, y, x: (v * np.sinh(x),), doc="The hyperbolic cosine."
)

tanh = elementwise(
    np.tanh, lambda v, y, x: (v * (1 - y * y),), doc="The hyperbolic tangent."
)


def _sigmoid(x: NDArray[np.floating]) -> NDArray[np.floating]:
    with np.errstate(over="ignore"):  # e⁻ˣ = ∞ gives the right 0
        return 1 / (1 + np.exp(-x))  # type: ignore[no-any-return]


sigmoid = register(
    BaseFunction(
        name="sigmoid",
        value=_sigmoid,
        shape=broadcast_shape,
        # Written out, 1/(1+e⁻ˣ) would pass 0·∞ backward at large −x.
        vjp=lambda v, y, x: (v * (y * (1 - y)),),
        doc="1 / (1 + e⁻ˣ); the written-out form is recognised as this.",
    )
)
