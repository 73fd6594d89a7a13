"""How near is equal: one table, per dtype."""

from __future__ import annotations

from typing import NamedTuple


class Tolerance(NamedTuple):
    """Relative errors, of numbers of size one.

    Attributes:
        value: one function, computed in two ways.
        sums: sums of up to some hundred terms, in two orders.
        slope: a derivative and an extrapolated difference.
        second: the same, of the derivative.
    """

    value: float
    sums: float
    slope: float
    second: float


TOLERANCES = {
    "float64": Tolerance(value=4e-15, sums=2e-13, slope=1e-8, second=1e-7),
    "float32": Tolerance(value=2e-6, sums=1e-4, slope=1e-2, second=1e-2),
}
FLOAT64 = TOLERANCES["float64"]
