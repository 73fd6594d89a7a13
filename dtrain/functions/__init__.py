"""Base functions: value, shape rule and transfer function, side by side.

Importing the package fills the tables in `dtrain.functions.base`.
"""

from dtrain.functions import (
    arithmetic,
    contraction,
    piecewise,
    reduction,
    samples,
    shape,
    transcendental,
)

__all__ = [
    "arithmetic",
    "contraction",
    "piecewise",
    "reduction",
    "samples",
    "shape",
    "transcendental",
]
