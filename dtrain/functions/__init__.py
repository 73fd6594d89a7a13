"""Base functions: value, shape rule and transfer function, side by side.

Importing the package fills the tables in `dtrain.functions.base`.
"""

from dtrain.functions import (
    arithmetic,
    axes,
    contraction,
    einsum,
    gather,
    grids,
    linalg,
    missing,
    piecewise,
    reduction,
    rounding,
    samples,
    scan,
    shape,
    softmax,
    special,
    statistics,
    tiling,
    transcendental,
    windows,
)

__all__ = [
    "arithmetic",
    "axes",
    "contraction",
    "einsum",
    "gather",
    "grids",
    "linalg",
    "missing",
    "piecewise",
    "reduction",
    "rounding",
    "samples",
    "scan",
    "shape",
    "softmax",
    "special",
    "statistics",
    "tiling",
    "transcendental",
    "windows",
]
