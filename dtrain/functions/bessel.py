"""Modified Bessel functions of the first kind, of integer order.

Up to 8 they are a series of positive terms (Abramowitz and Stegun, 9.6.10). Beyond, the
orders 0 and 1 are polynomials, and each next order follows from the two before it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dtrain.functions.arithmetic import polynomial
from dtrain.functions.base import (
    BaseFunction,
    Expression,
    adapter,
    broadcast_shape,
    register,
)

_NEAR = 8
_TERMS = 30

# √x e⁻ˣ I(x) of the orders 0 and 1 for x from 8 on, in t = 16/x − 1: the expansions in
# Chebyshev polynomials, written as powers.
_FAR = (
    (
        0.4021765094450081,
        0.0033605519836677504,
        0.00013621607438984735,
        1.1143033800708978e-05,
        1.4838476651250266e-06,
        2.973596046562712e-07,
        8.872034383314144e-08,
        3.932889375114634e-08,
        2.1566251453104354e-08,
        7.534355843803342e-09,
        -6.8493381882867694e-09,
        -1.3326094405766387e-08,
        -5.0381064879032845e-09,
        7.3359687108161536e-09,
        6.560138746917057e-09,
        -3.1346276429240787e-09,
        -4.575553424534973e-09,
        1.1050558794424347e-09,
        2.1968921378829006e-09,
        -2.8033819978869995e-10,
        -6.633287112547084e-10,
        3.629355229718733e-11,
        9.36508689281819e-11,
    ),
    (
        0.38939845902587233,
        -0.009749577193235635,
        -0.0002192357638317243,
        -1.5038547209501858e-05,
        -1.8349102358955385e-06,
        -3.4838534380376333e-07,
        -1.000109565963654e-07,
        -4.313196489977733e-08,
        -2.339250374801858e-08,
        -8.409182040442918e-09,
        6.8401389977069586e-09,
        1.3958551001385955e-08,
        5.59337010179061e-09,
        -7.44444147719727e-09,
        -6.983839624895866e-09,
        3.086886736722725e-09,
        4.810597405089944e-09,
        -1.0594544160443166e-09,
        -2.297004161885201e-09,
        2.6340771095136483e-10,
        6.917089294193807e-10,
        -3.365431853180176e-11,
        -9.752397204138195e-11,
    ),
)


def _bessel(x: Expression, *, order: int) -> Expression:
    a = np.abs(x)
    near = np.less(a, _NEAR)
    h = 0.5 * np.where(near, x, 0)
    factorials = [math.factorial(k) * math.factorial(k + order) for k in range(_TERMS)]
    series = polynomial(h * h, [1 / f for f in factorials]) * h**order
    b = np.where(np.logical_or(near, np.isinf(a)), _NEAR, a)
    t = 16 / b - 1
    last, y = (polynomial(t, powers) for powers in _FAR)
    if not order:
        y = last
    for n in range(1, order):
        last, y = y, last - (2 * n) / b * y
    root = np.exp(0.5 * b)  # the power itself would overflow too early
    far = root * (y / np.sqrt(b)) * root
    far = np.where(np.isinf(a), a, far)
    return np.where(near, series, np.copysign(far, x) if order % 2 else far)


def _bessel_vjp(
    v: Expression, y: Expression, x: Expression, *, order: int
) -> tuple[Expression]:
    above = bessel(x, order=order + 1)
    if not order:
        return (v * above,)
    return (v * (0.5 * (bessel(x, order=order - 1) + above)),)


bessel: BaseFunction = register(
    BaseFunction(
        name="bessel",
        value=_bessel,
        shape=lambda shape, *, order: broadcast_shape(shape),
        definition=_bessel,
        vjp=_bessel_vjp,
        doc="The modified Bessel function of the first kind of an integer order, I(x).",
    )
)


def i0(x: Any) -> Any:
    """Return the modified Bessel function of the first kind of order 0."""
    return bessel(x, order=0)


def i1(x: Any) -> Any:
    """Return the modified Bessel function of the first kind of order 1."""
    return bessel(x, order=1)


adapter(np.i0)(i0)
