"""Base functions: value, shape rule and transfer function, side by side.

Importing the package fills the tables in `dtrain.functions.base`.
"""

from dtrain.functions import (
    arithmetic,
    axes,
    block_axis,
    contraction,
    einsum,
    gamma,
    gather,
    grids,
    linalg,
    nan_reductions,
    piecewise,
    reduction,
    rounding,
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
    "block_axis",
    "contraction",
    "einsum",
    "gamma",
    "gather",
    "grids",
    "linalg",
    "nan_reductions",
    "piecewise",
    "reduction",
    "rounding",
    "scan",
    "shape",
    "softmax",
    "special",
    "statistics",
    "tiling",
    "transcendental",
    "windows",
]
