"""Rounding, whose derivative is 0 except at jumps, and remainders of division."""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.functions.base import adapter, elementwise

ROUNDING = tuple(
    elementwise(ufunc, branch=ufunc, doc=f"{rounded}; passes nothing backward.")
    for ufunc, rounded in (
        (np.floor, "The next integer below"),
        (np.ceil, "The next integer above"),
        (np.trunc, "The next integer towards 0"),
        (np.rint, "The nearest integer, the even one of two"),
    )
)

floor_divide = elementwise(
    np.floor_divide, branch=np.floor_divide, doc="⌊a / b⌋; passes nothing backward."
)

remainder = elementwise(
    np.remainder,
    lambda v, y, a, b: (v, -(v * np.floor_divide(a, b))),
    branch=np.floor_divide,
    doc="a − b ⌊a / b⌋, with the sign of b.",
)

# The quotient is computed from the exact remainder, because a / b may round up.
fmod = elementwise(
    np.fmod,
    lambda v, y, a, b: (v, -(v * np.rint((a - y) / b))),
    branch=lambda a, b: np.rint((a - np.fmod(a, b)) / b),
    doc="a − b trunc(a / b), with the sign of a.",
)


@adapter(np.divmod)
def _divmod(a: Any, b: Any) -> tuple[Any, Any]:
    return np.floor_divide(a, b), np.remainder(a, b)


@adapter(np.modf)
def _modf(x: Any) -> tuple[Any, Any]:
    whole = np.trunc(x)
    finite = np.where(np.isinf(x), 0, x)
    return finite - np.trunc(finite), whole


@adapter(np.round, np.around)
def _round(a: Any, decimals: int = 0) -> Any:
    if decimals < 0:
        return np.rint(a / 10**-decimals) * 10**-decimals
    return np.rint(a) if decimals == 0 else np.rint(a * 10**decimals) / 10**decimals


@adapter(np.fix)
def _fix(x: Any) -> Any:
    return np.trunc(x)
