"""Special functions that NumPy lacks, written with NumPy's functions.

In a program ``scipy.special``'s functions of the same names mean these, so bits do not
depend on whether SciPy is installed.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from dtrain.functions.arithmetic import polynomial
from dtrain.functions.base import BaseFunction, Expression, broadcast_shape, register
from dtrain.functions.bessel import i0, i1
from dtrain.functions.gamma import beta, digamma, gamma, gammaln
from dtrain.functions.transcendental import sigmoid

# Minimax polynomials by Remez's exchange: erf(x)/x − 1 in x² for x ≤ 1, and
# e^x² (1 − erf x) in x − 2 for x from 1 to 6, where erf is 1.
_INNER = (
    0.12837916709551256,
    -0.3761263890318355,
    0.11283791670945252,
    -0.02686617064327603,
    0.005223977607422242,
    -0.000854832598965074,
    0.0001205529531944647,
    -1.4924744648587868e-05,
    1.6447517552329454e-06,
    -1.620917531708738e-07,
    1.3722975041187096e-08,
    -7.801188727120381e-10,
)
_OUTER = (
    0.25539567631050564,
    -0.10679646185348926,
    0.04180275260354416,
    -0.015460637764267655,
    0.005440738537083445,
    -0.0018316642764799752,
    0.0005924699982248919,
    -0.00018477836107589813,
    5.5728305005068e-05,
    -1.6293741350872477e-05,
    4.628196902357351e-06,
    -1.2794791217982144e-06,
    3.448236573623459e-07,
    -9.078603061919908e-08,
    2.3373615632797938e-08,
    -5.848380676201804e-09,
    1.4237302277104747e-09,
    -3.554590050107538e-10,
    9.314714581326566e-11,
    -2.133168760261063e-11,
    3.189506987987225e-12,
    -2.1411557141682446e-13,
)


def _erf(x: Expression) -> Expression:
    a = np.minimum(np.abs(x), 6)
    near = a + a * polynomial(a * a, _INNER)
    far = 1 - np.exp(-(a * a)) * polynomial(a - 2, _OUTER)
    return np.copysign(np.where(np.less(a, 1), near, far), x)


erf = register(
    BaseFunction(
        name="erf",
        value=_erf,
        shape=broadcast_shape,
        definition=_erf,
        vjp=lambda v, y, x: (v * (2 / math.sqrt(math.pi) * np.exp(-(x * x))),),
        doc="The error function, 2/√π ∫₀ˣ e^−t² dt.",
    )
)

# (1 + 2x) e^x² erfc x for x ≥ 0, by Chebyshev's points in (x − 3.75) / (x + 3.75)
# (Shepherd and Laframboise, Chebyshev approximation of (1 + 2x) exp(x²) erfc x, 1981).
_TAIL = (
    1.2375126308378275,
    -0.14024059858554702,
    0.00358541548546369,
    0.08227673849015102,
    -0.10880393014170746,
    0.09230432116019834,
    -0.05869339859054763,
    0.028362277421515633,
    -0.009746579547619445,
    0.0017556258324214638,
    0.0002937135948044431,
    -0.00029015397928838186,
    5.164940778120652e-05,
    2.238391203157712e-05,
    -1.1445049143249318e-05,
    -9.72849571058612e-07,
    1.7534434611553181e-06,
    -5.826282767257032e-08,
    -2.6114707465358736e-07,
    2.4289779954299893e-08,
    4.097127183751095e-08,
    -4.389295118460119e-09,
    -6.5455900844626624e-09,
    5.457197997782623e-10,
    9.022256186535965e-10,
    -3.7532246045270984e-11,
    -7.339672565389628e-11,
)


def _erfc(x: Expression) -> Expression:
    a = np.minimum(np.abs(x), 28)  # where float64 underflows too
    scaled = polynomial((a - 3.75) / (a + 3.75), _TAIL) / (1 + 2 * a)
    tail = scaled * np.exp(-(a * a))
    return np.where(np.less(x, 0), 2 - tail, np.where(np.isnan(x), x, tail))


erfc = register(
    BaseFunction(
        name="erfc",
        value=_erfc,
        shape=broadcast_shape,
        definition=_erfc,
        vjp=lambda v, y, x: (v * (-2 / math.sqrt(math.pi) * np.exp(-(x * x))),),
        doc="1 − erf x, to about 3 + x² units in the last place.",
    )
)


# erf⁻¹(x) / x in −log(1 − x²), to seven digits (Giles, Approximating the erfinv
# function, 2010, table 1): around 2.5, and in the square root around 3.
_INVERSE = (
    (
        *(1.50140941, 0.246640727, -0.00417768164, -0.00125372503, 0.00021858087),
        *(-4.39150654e-06, -3.5233877e-06, 3.43273939e-07, 2.81022636e-08),
    ),
    (
        *(2.83297682, 1.00167406, 0.00943887047, -0.0076224613, 0.00573950773),
        *(-0.00367342844, 0.00134934322, 0.000100950558, -0.000200214257),
    ),
)


def _erfinv(x: Expression) -> Expression:
    a = np.abs(x)
    inside = np.less(a, 1)
    a = np.where(inside, a, 0)
    w = -(np.log(1 - a) + np.log1p(a))
    centre = np.less(w, 5)
    near, far = np.where(centre, w, 0), np.sqrt(np.where(centre, 9, w))
    y = a * np.where(
        centre, polynomial(near - 2.5, _INVERSE[0]), polynomial(far - 3, _INVERSE[1])
    )
    for _ in range(2):  # Halley's steps, in the tail with erfc, which has its digits
        error = np.where(np.less(a, 0.5), erf(y) - a, (1 - a) - erfc(y))
        step = error * (0.5 * math.sqrt(math.pi)) * np.exp(y * y)
        y = y - step / (1 + y * step)
    outside = np.where(np.equal(np.abs(x), 1), np.inf, np.nan)
    return np.copysign(np.where(inside, y, outside), x)


erfinv = register(
    BaseFunction(
        name="erfinv",
        value=_erfinv,
        shape=broadcast_shape,
        definition=_erfinv,
        vjp=lambda v, y, x: (v * (0.5 * math.sqrt(math.pi) * np.exp(y * y)),),
        doc="The inverse of erf, from −1 to 1.",
    )
)


def _over(x: Expression, y: Expression) -> Expression:
    """Return x / y, but 0 where x is 0."""
    nothing = np.equal(x, 0)
    return np.where(nothing, 0, x / np.where(nothing, 1, y))


def _nothing(x: Expression, y: Expression) -> Expression:
    """Return where x is 0 and y is not NaN, so that the product is 0."""
    return np.logical_and(np.equal(x, 0), np.equal(y, y))


def _xlogy(x: Expression, y: Expression) -> Expression:
    nothing = _nothing(x, y)
    return np.where(nothing, 0, x * np.log(np.where(nothing, 1, y)))


def _xlog1py(x: Expression, y: Expression) -> Expression:
    nothing = _nothing(x, y)
    return np.where(nothing, 0, x * np.log1p(np.where(nothing, 0, y)))


xlogy = register(
    BaseFunction(
        name="xlogy",
        value=_xlogy,
        shape=broadcast_shape,
        definition=_xlogy,
        vjp=lambda v, y, a, b: (v * np.log(b), v * _over(a, b)),
        doc="a log b, but 0 where a is 0.",
    )
)

xlog1py = register(
    BaseFunction(
        name="xlog1py",
        value=_xlog1py,
        shape=broadcast_shape,
        definition=_xlog1py,
        vjp=lambda v, y, a, b: (v * np.log1p(b), v * _over(a, 1 + b)),
        doc="a log(1 + b), exact near b = 0, but 0 where a is 0.",
    )
)


def _entr(x: Expression) -> Expression:
    return np.where(np.less(x, 0), -np.inf, -xlogy(x, x))


def softplus(x: Any) -> Any:
    """Return log(1 + eˣ), elementwise, without overflow."""
    return np.logaddexp(x, 0)


def silu(x: Any) -> Any:
    """Return x σ(x), elementwise."""
    return x * sigmoid(x)


def gelu(x: Any) -> Any:
    """Return x Φ(x), elementwise (Hendrycks and Gimpel, 2016)."""
    return x * normal(x)


def normal(x: Any) -> Any:
    """Return Φ(x), the standard normal distribution function, elementwise."""
    return 0.5 * erfc(-math.sqrt(0.5) * x)  # with erf the lower tail would be 1 - 1


OF_SCIPY: dict[str, Callable[..., Any]] = {
    "beta": beta,
    "cbrt": np.cbrt,
    "digamma": digamma,
    "entr": _entr,
    "erf": erf,
    "erfc": erfc,
    "erfinv": erfinv,
    "exp2": np.exp2,
    "expit": sigmoid,
    "expm1": np.expm1,
    "gamma": gamma,
    "gammaln": gammaln,
    "i0": i0,
    "i1": i1,
    "log1p": np.log1p,
    "log_expit": lambda x: -softplus(-x),
    "logit": lambda x: np.log(x) - np.log1p(-x),
    "ndtr": normal,
    "psi": digamma,
    "xlog1py": xlog1py,
    "xlogy": xlogy,
}


def of_scipy(ufunc: np.ufunc) -> Callable[..., Any] | None:
    """Return dtrain's function for one of ``scipy.special``, or ``None``."""
    module = sys.modules.get("scipy.special")  # a caller has imported it
    if module is None or getattr(module, ufunc.__name__, None) is not ufunc:
        return None
    return OF_SCIPY.get(ufunc.__name__)
