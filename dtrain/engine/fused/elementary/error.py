"""The error function."""

from __future__ import annotations

from dtrain.engine.fused.elementary.exponential import reduced, remainder
from dtrain.engine.fused.elementary.steps import (
    Coefficients,
    polynomial,
    power_of_two,
)
from dtrain.engine.fused.lanes import Lanes, at_most, select

# erf(x)/x − 1 in x², for x ≤ 1
INNER: Coefficients = {
    "float32": (
        0.12837916591379742,
        -0.376126271363278,
        0.11283600179640585,
        -0.02685444470917572,
        0.005189535529135153,
        -0.0008020842727264547,
        7.889123727118893e-05,
    ),
    "float64": (
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
    ),
}
# e^x²·(1 − erf x) in x − CENTRE, for x from 1 to HIGHEST, where erf is 1
OUTER: Coefficients = {
    "float32": (
        0.2849722831275358,
        -0.1309759811616755,
        0.0557617608499493,
        -0.022270283192842775,
        0.008409143329744828,
        -0.0029716851257478695,
        0.001044588774204297,
        -0.00041597971529638204,
        0.0001068108753799684,
    ),
    "float64": (
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
    ),
}
CENTRE = {"float32": 1.75, "float64": 2.0}
HIGHEST = {"float32": 4.0, "float64": 6.0}


def erf(x: Lanes) -> Lanes:
    """A polynomial near 0; 1 − e^−x² times a polynomial from 1 on."""
    a = at_most(HIGHEST[x.kind], abs(x))
    z = a * a
    near = a + a * polynomial(z, INNER[x.kind])
    r, n = reduced(-z)
    power = (1 + (r + remainder(r))) * power_of_two(n, x.kind)
    far = 1 - power * polynomial(a - CENTRE[x.kind], OUTER[x.kind])
    return select(a < 1, near, far).signed_like(x)
