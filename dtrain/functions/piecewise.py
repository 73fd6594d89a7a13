"""Functions made of pieces: choices, comparisons and logic.

At a tie the derivative is a choice. ``maximum`` and ``minimum`` give a tie to the
second operand, so that relu, ``maximum(x, 0)``, has the derivative 0 at 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.functions.base import (
    BaseFunction,
    adapter,
    broadcast_shape,
    elementwise,
    register,
)

maximum = elementwise(
    np.maximum,
    lambda v, y, a, b: (np.where(a > b, v, 0), np.where(a > b, 0, v)),
    branch=np.greater,
    doc="The larger of a and b; a tie belongs to b.",
)

minimum = elementwise(
    np.minimum,
    lambda v, y, a, b: (np.where(a < b, v, 0), np.where(a < b, 0, v)),
    branch=np.less,
    doc="The smaller of a and b; a tie belongs to b.",
)

absolute = elementwise(
    np.absolute,
    lambda v, y, x: (v * np.sign(x),),
    branch=np.sign,
    doc="|x|; the derivative at 0 is 0.",
)

sign = elementwise(np.sign, branch=np.sign, doc="−1, 0 or 1; passes nothing backward.")

where = register(
    BaseFunction(
        name="where",
        value=np.where,
        shape=broadcast_shape,
        vjp=lambda v, y, c, a, b: (None, np.where(c, v, 0), np.where(c, 0, v)),
        takes=None,
        gives=None,
        doc="a where the condition holds, else b. Both are computed, as in NumPy: "
        "keep a branch that is not chosen finite with a second ``where`` inside it.",
    )
)

real = register(
    BaseFunction(
        name="real",
        value=lambda x: np.asarray(x, np.float64),
        shape=lambda shape: shape,
        takes=None,
        doc="A truth value or an integer as a number of the run's dtype.",
    )
)

COMPARISONS = tuple(
    elementwise(ufunc, gives="bool", branch=ufunc, doc=f"Whether a {sign} b.")
    for ufunc, sign in (
        (np.greater, ">"),
        (np.greater_equal, "≥"),
        (np.less, "<"),
        (np.less_equal, "≤"),
        (np.equal, "="),
        (np.not_equal, "≠"),
    )
)

LOGICAL = tuple(
    elementwise(ufunc, takes="bool", gives="bool", doc=doc)
    for ufunc, doc in (
        (np.logical_and, "Whether both hold."),
        (np.logical_or, "Whether one holds."),
        (np.logical_xor, "Whether just one holds."),
        (np.logical_not, "Whether x does not hold."),
    )
)


@adapter(np.where)
def _where(condition: Any, x: Any, y: Any) -> Any:
    return where(condition, x, y)


adapter(np.fabs)(absolute)
adapter(np.bitwise_and)(LOGICAL[0])
adapter(np.bitwise_or)(LOGICAL[1])
adapter(np.bitwise_xor)(LOGICAL[2])
adapter(np.invert)(LOGICAL[3])
