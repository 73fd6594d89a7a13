"""Where a derivative is a choice, and where a plain formula would be 0/0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dtrain import layers, loss_and_gradient, predict, program, weight
from dtrain.errors import NotFiniteError
from tests.functions.slopes import Slopes
from tests.tolerances import FLOAT64

NAN = np.array([[0, 0, np.nan], [0, np.nan, 0]])


def slope(function: Callable[..., Any], *points: Any) -> list[Any]:
    """The derivatives of a function's sum at weights ``w0``, ``w1``, ..."""

    @program
    def summed(x):
        ws = [weight(f"w{i}", np.shape(point)) for i, point in enumerate(points)]
        return np.sum(function(*ws)) * x

    values = {f"w{i}": point for i, point in enumerate(points)}
    _, gradient = loss_and_gradient(summed, values, [np.ones(1)], loss="mean")
    return [gradient[name].tolist() for name in values]


@pytest.mark.parametrize(
    ("function", "points", "slopes"),
    [
        pytest.param(layers.relu, [[-1.0, 0, 2]], [[0, 0, 1]], id="relu"),
        pytest.param(np.maximum, [1.0, 1.0], [0, 1], id="maximum"),
        pytest.param(np.minimum, [1.0, 1.0], [0, 1], id="minimum"),
        pytest.param(np.maximum, [[1.0, 2], 1.0], [[0, 1], 1], id="maximum of vector"),
        pytest.param(lambda x: np.maximum(x, x), [3.0], [1], id="maximum of itself"),
        pytest.param(lambda x: np.maximum(0, x), [0.0], [1], id="maximum(0, x)"),
        pytest.param(
            lambda a, b: np.fmax(a + NAN[0], b + NAN[1]),
            [[1.0, 2, 3], [1.0, 2, 3]],
            [[0, 1, 0], [1, 0, 1]],
            id="fmax",
        ),
        pytest.param(
            lambda a, b: np.fmin(a + NAN[0], b + NAN[1]),
            [[1.0, 2, 3], [1.0, 2, 3]],
            [[0, 1, 0], [1, 0, 1]],
            id="fmin",
        ),
        pytest.param(
            lambda x: np.clip(x, -1, 1), [[-1.0, 0, 1]], [[0, 1, 0]], id="clip"
        ),
        pytest.param(np.hypot, [0.0, 0.0], [0, 0], id="hypot"),
        pytest.param(
            np.remainder, [[4.0, -1], [2, 2]], [[1, 1], [-2, 1]], id="remainder"
        ),
        pytest.param(np.fmod, [[4.0, -1], [2, 2]], [[1, 1], [-2, 0]], id="fmod"),
        pytest.param(np.fmod, [[1.0, -1], [0.1, 0.1]], [[1, 1], [-9, 9]], id="fmod up"),
        pytest.param(np.remainder, [1.0, 0.1], [1, -9], id="remainder up"),
        pytest.param(np.std, [[2.0, 2, 2]], [[0, 0, 0]], id="std"),
        pytest.param(
            lambda x: np.nanstd(x + NAN[0]), [[2.0, 2, 2]], [[0, 0, 0]], id="nanstd"
        ),
        pytest.param(np.linalg.norm, [[0.0, 0, 0]], [[0, 0, 0]], id="norm"),
        pytest.param(np.floor, [[2.0, 2.5]], [[0, 0]], id="floor"),
        pytest.param(np.abs, [[-2.0, 0, 3]], [[-1, 0, 1]], id="abs"),
        pytest.param(np.sign, [[-2.0, 0, 3]], [[0, 0, 0]], id="sign"),
        pytest.param(np.max, [[1.0, 3, 3, 2]], [[0, 1, 0, 0]], id="max"),
        pytest.param(np.min, [[1.0, 3, 1, 2]], [[1, 0, 0, 0]], id="min"),
        pytest.param(
            lambda x: np.max(x, axis=0),
            [[[2.0, 1], [2, 5], [0, 5]]],
            [[[1, 0], [0, 1], [0, 0]]],
            id="max along the first axis",
        ),
        pytest.param(
            np.max, [[[0.0, 7], [7, 7]]], [[[0, 1], [0, 0]]], id="max over both axes"
        ),
        pytest.param(
            lambda x: np.min(x, axis=(0, 2)),
            [[[[1.0, 1], [4, 3]], [[1, 1], [3, 3]]]],
            [[[[1, 0], [0, 1]], [[0, 0], [0, 0]]]],
            id="min over the outer axes",
        ),
        pytest.param(
            lambda x: np.where(x > 0, np.sqrt(np.where(x > 0, x, 1)), 0),
            [[-1.0, 0, 4]],
            [[0, 0, 0.25]],
            id="where inside where",
        ),
        pytest.param(lambda x: x**0, [0.0], [0], id="x to the 0 at 0"),
        pytest.param(lambda x: x**1, [0.0], [1], id="x to the 1 at 0"),
        pytest.param(
            lambda x: x ** np.array([0, 1, 2, 3]),
            [[0.0, 0, 0, 0]],
            [[0, 1, 0, 0]],
            id="integer powers at 0",
        ),
        pytest.param(lambda x: x**0, [[1e-310, -1e-310]], [[0, 0]], id="tiny to the 0"),
        pytest.param(np.power, [0.0, 0.0], [0, 0], id="0 to the 0"),
        pytest.param(np.power, [2.0, 0.0], [0, np.log(2)], id="2 to the 0"),
        pytest.param(np.power, [0.0, 2.0], [0, 0], id="0 to the 2"),
    ],
)
def test_a_choice_at_a_tie(
    function: Callable[..., Any], points: list[Any], slopes: list[Any]
) -> None:
    assert slope(function, *map(np.array, points)) == slopes


@pytest.mark.parametrize("size", [1e-23, 1e-16, 1.0, 1e20, 1e30])
def test_the_slope_of_an_angle_is_one_over_the_distance(size: float) -> None:
    @program
    def angle(x):
        return np.arctan2(weight("a"), weight("b")) * x

    weights = {"a": np.float32(3 * size), "b": np.float32(4 * size)}
    one = [np.ones(1)]
    _, gradient = loss_and_gradient(angle, weights, one, loss="mean", dtype="float32")
    assert gradient["a"] == pytest.approx(4 / (25 * size), rel=1e-6)
    assert gradient["b"] == pytest.approx(-3 / (25 * size), rel=1e-6)


@pytest.mark.parametrize(("name", "expected"), [("argmax", 1), ("argmin", 0)])
def test_the_first_of_equal_elements_is_chosen(name: str, expected: int) -> None:
    @program
    def choice(x):
        return getattr(np, name)(x) + 0 * weight("w")

    row = [[1.0, 3, 3, 1], [1, 3, 1, 3]]
    assert np.all(predict(choice, {"w": 0.0}, [np.array(row)]) == expected)


@pytest.mark.parametrize(
    "point",
    [[2.0, 3, 5], [2, 0, 5], [0, 3, 0], [0, 0, 0], [2, 3, 0, 5, 7, -1, 0]],
    ids=["no zero", "one zero", "two zeros", "all zeros", "two of seven"],
)
@pytest.mark.parametrize(
    "multiply", [np.prod, lambda w: np.cumprod(w)[-1]], ids=["prod", "cumprod"]
)
def test_products_of_zeros_are_exact_at_both_orders(
    multiply: Callable[..., Any], point: list[float]
) -> None:
    @program
    def product(x):
        return multiply(weight("w", (len(point),))) * x

    columns = {"x": np.ones(1)}
    rng = np.random.default_rng(5)
    slopes = Slopes(product, columns, {"w": point}, rng)
    n = len(point)
    first, second = (each["w"] for each in slopes.directions)

    def others(*left: int) -> float:
        return float(np.prod([point[i] for i in range(n) if i not in left]))

    gradient = sum(others(i) * first[i] for i in range(n))
    hessian = sum(
        others(i, j) * first[i] * second[j]
        for i in range(n)
        for j in range(n)
        if i != j
    )
    assert slopes.at("first") == pytest.approx(gradient, rel=FLOAT64.sums, abs=0)
    assert slopes.at("second") == pytest.approx(
        hessian, rel=FLOAT64.sums, abs=FLOAT64.sums
    )


def test_the_power_zero_has_a_second_derivative() -> None:
    # ∂²/∂a∂b aᵇ = 1/a at b = 0.
    @program
    def power(x):
        return np.power(weight("a"), weight("b")) * x

    slopes = Slopes(
        power, {"x": np.ones(1)}, {"a": 2.0, "b": 0.0}, np.random.default_rng(6)
    )
    (a1, b1), (a2, b2) = ((d["a"], d["b"]) for d in slopes.directions)
    expected = (a1 * b2 + b1 * a2) / 2 + b1 * b2 * np.log(2) ** 2
    assert slopes.at("second") == pytest.approx(float(expected), rel=FLOAT64.sums)


def test_a_singular_matrix_is_named_with_its_line() -> None:
    @program
    def solved(x):
        return np.linalg.solve(weight("A", (2, 2)), weight("b", (2,)))[0] * x

    weights = {"A": np.ones((2, 2)), "b": np.ones(2)}
    with pytest.raises(NotFiniteError, match=r"test_ties.py:\d+: .* singular"):
        predict(solved, weights, [np.ones(1)])


def test_a_single_where_passes_nan_to_the_gradient() -> None:
    # As in NumPy, both branches are computed, and 0 · ∞ is no number: this is why the
    # documentation asks for a second where.
    def careless(x: Any) -> Any:
        return np.where(x > 0, np.sqrt(x), 0)

    (single,) = slope(careless, np.array(0.0))
    assert np.isnan(single)
