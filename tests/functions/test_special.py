"""Special functions against independent ones, and at the ends of their ranges."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

from dtrain import layers, loss_and_gradient, predict, program, weight

SCIPY = (
    "cbrt digamma entr erf erfc exp2 expit expm1 gammaln log1p log_expit logit ndtr psi"
)


def of(function: Callable[..., Any], x: Any, dtype: str = "float64") -> Any:
    """What the engine computes of each element."""

    @program
    def mapped(x):
        weight("unused")  # a weight's dtype is that of the run
        return {"y": function(x)}

    return predict(mapped, {"unused": np.zeros((), dtype)}, [np.asarray(x, dtype)])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_erf_agrees_with_the_c_library(dtype: str) -> None:
    grid, tiny = np.linspace(-7, 7, 20_001), 10.0 ** np.linspace(-30, 0, 1_001)
    x = np.concatenate([grid, tiny, -tiny]).astype(dtype)
    expected = np.array([math.erf(each) for each in x])
    error = np.abs(of(layers.erf, x, dtype) - expected)
    place = np.spacing(np.abs(expected).astype(dtype)).astype(float)
    assert (error <= 2 * place).all()


def test_gammaln_agrees_with_the_c_library() -> None:
    x = np.concatenate([np.linspace(-9.95, 30, 4_001), [1e-8, 1e4, 1e12]])
    expected = np.array([math.lgamma(each) for each in x])
    error = np.abs(of(layers.gammaln, x) - expected)
    assert np.all(error < 2e-14 * np.maximum(1, np.abs(expected)))


def test_digamma_at_known_points() -> None:
    euler = 0.57721566490153286
    points = {
        1.0: -euler,
        0.5: -euler - 2 * math.log(2),
        2.0: 1 - euler,
        -0.5: 2 - euler - 2 * math.log(2),
        20.0: sum(1 / n for n in range(1, 20)) - euler,
    }
    values = of(layers.digamma, list(points))
    np.testing.assert_allclose(values, list(points.values()), rtol=0, atol=2e-14)


def test_erfc_is_accurate_where_it_is_small() -> None:
    x = np.concatenate([np.linspace(-6, 26, 4_001), [-np.inf, np.inf, 40.0]])
    expected = np.array([math.erfc(each) for each in x])
    place = np.spacing(expected)
    error = np.abs(of(layers.erfc, x) - expected)
    assert np.all(error <= (3 + np.minimum(x, 27) ** 2) * place)
    assert np.isnan(of(layers.erfc, np.array([np.nan])))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_normal_is_accurate_where_it_is_small(dtype: str) -> None:
    x = np.linspace(-12, 9, 2_001).astype(dtype)
    expected = [0.5 * math.erfc(-each / math.sqrt(2)) for each in x.astype(float)]
    # That of erfc, and the rounding of its argument, which counts x² times.
    near = (4 + 1.5 * x.astype(float) ** 2) * np.finfo(dtype).eps
    error = np.abs(of(layers.normal, x, dtype) - expected)
    assert np.all(error <= near * expected)


def test_the_derivative_of_digamma_is_accurate() -> None:
    @program
    def f(x):
        return layers.digamma(weight("w")) * x

    for w in (0.144, 0.5, 0.6336, 3.0, 20.0):
        _, gradient = loss_and_gradient(f, {"w": w}, [np.ones(1)], loss="mean")
        expected = float(mpmath.psi(1, mpmath.mpf(w)))
        assert float(gradient["w"]) == pytest.approx(expected, rel=1e-13)


def test_logits_of_minus_infinity_have_no_effect() -> None:
    @program
    def masked(x):
        row = np.where(np.array([True, False, True]), x, -np.inf)
        return {
            "lse": layers.logsumexp(row),
            "none": layers.logsumexp(x - np.inf),
            "softmax": layers.softmax(row),
            "large": layers.log_softmax(1e4 * x),
        }

    values = predict(masked, {}, [np.array([[1.0, 5, 2]])])
    assert values["lse"] == pytest.approx(np.logaddexp(1, 2))
    assert values["none"] == -np.inf
    assert values["softmax"][0].tolist() == pytest.approx(
        [1 / (1 + math.e), 0, math.e / (1 + math.e)]
    )
    assert values["large"][0].tolist() == [-4e4, 0, -3e4]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_log_softmax_of_large_logits_is_accurate(dtype: str) -> None:
    x = np.array([[1000.0, 990], [-3e5, -3e5 + 8]], dtype)
    small = [math.log1p(math.exp(-10)), math.log1p(math.exp(-8))]
    expected = [[-small[0], -10 - small[0]], [-8 - small[1], -small[1]]]
    values = of(layers.log_softmax, x, dtype)
    np.testing.assert_allclose(values, expected, rtol=0, atol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_along_an_axis(axis: int) -> None:
    x = np.random.default_rng(9).standard_normal((4, 2, 3))
    along = {-1: 2, 0: 1, 1: 2}[axis]
    powers = np.exp(x)
    total = powers.sum(axis=along, keepdims=True)
    for function, expected in (
        (layers.softmax, powers / total),
        (layers.log_softmax, np.log(powers / total)),
    ):
        values = of(lambda x, f=function: f(x, axis), x)
        np.testing.assert_allclose(values, expected, rtol=1e-13)
    values = of(lambda x: layers.logsumexp(x, axis, keepdims=True), x)
    np.testing.assert_allclose(values, np.log(total), rtol=1e-13)
    np.testing.assert_allclose(
        of(layers.logsumexp, x), np.log(powers.sum(axis=(1, 2))), rtol=1e-13
    )


def test_logsumexp_over_axes() -> None:
    x = np.random.default_rng(10).standard_normal((4, 2, 3, 5))
    for axes, over in (((0, -1), (1, 3)), ((2, 1), (2, 3)), ((), ())):
        for keepdims in (False, True):
            values = of(lambda x, a=axes, k=keepdims: layers.logsumexp(x, a, k), x)
            expected = np.log(np.exp(x).sum(axis=over, keepdims=keepdims))
            np.testing.assert_allclose(values, expected, rtol=1e-13, atol=1e-15)
    ones = x[:, 0, 0, 0]
    for axis in (None, 0, -1):
        assert np.array_equal(of(lambda x, a=axis: layers.logsumexp(x, a), ones), ones)


def test_activations() -> None:
    x = np.array([-800.0, -2, 0, 0.5, 800])
    phi = np.array([0.5 * math.erfc(-each / math.sqrt(2)) for each in x])
    with np.errstate(over="ignore"):
        sigmoid = 1 / (1 + np.exp(-x))
    for function, expected in (
        (layers.gelu, x * phi),
        (layers.normal, phi),
        (layers.silu, x * sigmoid),
        (layers.softplus, np.logaddexp(0, x)),
    ):
        np.testing.assert_allclose(of(function, x), expected, rtol=1e-14, atol=1e-15)


ENDS = np.array([-np.inf, -2.5, -1, -1e-20, 0, 1e-20, 0.5, 1, np.inf, np.nan])


@pytest.mark.parametrize("name", ["entr", "gammaln", "psi", "ndtr", "erfc", "expit"])
def test_limits_agree_with_scipy(name: str) -> None:
    special = pytest.importorskip("scipy.special")
    x = ENDS[1:] if name == "gammaln" else ENDS  # C has +∞ at −∞, and SciPy −∞
    function = getattr(special, name)
    np.testing.assert_allclose(of(function, x), function(x), rtol=4e-14, atol=4e-15)


@pytest.mark.parametrize("name", ["xlogy", "xlog1py"])
def test_zero_times_a_logarithm_agrees_with_scipy(name: str) -> None:
    function = getattr(pytest.importorskip("scipy.special"), name)
    x, y = np.repeat(ENDS, len(ENDS)), np.tile(ENDS, len(ENDS))

    @program
    def both(x, y):
        return {"y": function(x, y)}

    np.testing.assert_allclose(predict(both, {}, [x, y]), function(x, y), rtol=4e-14)


def test_functions_of_scipy_are_replaced_by_ours() -> None:
    special = pytest.importorskip("scipy.special")
    x = np.linspace(0.1, 0.9, 7)
    for name in SCIPY.split():
        function = getattr(special, name)
        np.testing.assert_allclose(of(function, x), function(x), rtol=4e-14)
    for name in ("xlogy", "xlog1py"):
        function = getattr(special, name)
        values = of(lambda x, f=function: f(x, x), x)
        np.testing.assert_allclose(values, function(x, x), rtol=4e-14)
    for name in ("erf", "gammaln"):
        bits = of(getattr(special, name), x).tobytes()
        assert bits == of(getattr(layers, name), x).tobytes()
