"""Elementary functions, as formulas over lanes.

Reduce the argument exactly enough, evaluate a short minimax polynomial, put the result
together: Muller, *Elementary Functions* (3rd ed., 2016), chapters 3, 4 and 11. The
polynomials come from Remez's exchange, weighted for the relative error of the result.
"""

from __future__ import annotations

from collections.abc import Callable

from dtrain.engine.fused.elementary.exponential import (
    cosh,
    exp,
    exp2,
    expm1,
    sigmoid,
    sinh,
    tanh,
)
from dtrain.engine.fused.elementary.inverse import (
    arccos,
    arccosh,
    arcsin,
    arcsinh,
    arctan,
    arctan2,
    arctanh,
)
from dtrain.engine.fused.elementary.logarithm import log, log1p, log2, log10
from dtrain.engine.fused.elementary.power import power
from dtrain.engine.fused.elementary.root import cbrt, hypot
from dtrain.engine.fused.elementary.trigonometric import (
    cos,
    sin,
    sincos,
    tan,
)
from dtrain.engine.fused.lanes.lanes import Lanes

__all__ = ["FUNCTIONS", "sincos"]

FUNCTIONS: dict[str, Callable[..., Lanes]] = {
    "arccos": arccos,
    "arccosh": arccosh,
    "arcsin": arcsin,
    "arcsinh": arcsinh,
    "arctan": arctan,
    "arctan2": arctan2,
    "arctanh": arctanh,
    "cbrt": cbrt,
    "cos": cos,
    "cosh": cosh,
    "exp": exp,
    "exp2": exp2,
    "expm1": expm1,
    "hypot": hypot,
    "log": log,
    "log10": log10,
    "log1p": log1p,
    "log2": log2,
    "power": power,
    "sigmoid": sigmoid,
    "sin": sin,
    "sinh": sinh,
    "sqrt": Lanes.sqrt,
    "tan": tan,
    "tanh": tanh,
}
