"""First values of weights: reproducible, independent of order, of the right size."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from dtrain import init, initializers, program, weight, zoo
from dtrain.tracing.initializers import Initializer


def drawn(name: str, shape: tuple[int, ...], init: Initializer, seed: int = 0):
    return init.draw(seed, name, shape)


def test_fractions_are_raw_words_of_a_keyed_philox() -> None:
    # Written out anew from the definition: NumPy promises these words for ever.
    key = hashlib.sha256(b"weight\0007\0layer.W").digest()[:16]
    words = np.random.Philox(key=int.from_bytes(key, "little")).random_raw(6)
    fractions = np.array([int(word) >> 11 for word in words]) / 2**53
    expected = -2 + 5 * fractions
    values = initializers.uniform(-2, 3).draw(7, "layer.W", (2, 3))
    assert np.array_equal(values.ravel(), expected)


@pytest.mark.parametrize(
    ("init", "shape", "golden"),
    [
        (
            initializers.normal(),
            (3,),
            [-1.669705305300838, -0.8048597788613187, 0.131894714392537],
        ),
        (
            initializers.glorot,
            (2, 2),
            [
                0.6223103372234096,
                -0.05858440985582791,
                -0.030731406825354135,
                -0.30577092277068063,
            ],
        ),
        (
            initializers.he,
            (2, 2),
            [
                -1.669705305300838,
                -0.8048597788613187,
                0.131894714392537,
                0.803146811788018,
            ],
        ),
        (
            initializers.uniform(),
            (3,),
            [0.5081142626188941, -0.047833970342952004, -0.02509208860000056],
        ),
    ],
    ids=["normal", "glorot", "he", "uniform"],
)
def test_golden_values(
    init: Initializer, shape: tuple[int, ...], golden: list[float]
) -> None:
    # The logarithm and cosine of normals come from the C library.
    values = drawn("W", shape, init).ravel()
    np.testing.assert_allclose(values, golden, rtol=1e-14)


def test_values_depend_on_seed_and_name_alone() -> None:
    @program
    def forward(x):
        return weight("a", (2,)) @ x + np.sum(weight("b", (2,)))

    @program
    def backward(x):
        return np.sum(weight("b", (2,))) + weight("a", (2,)) @ x

    one, other = (init(p, seed=3, shapes={"x": 2}) for p in (forward, backward))
    assert all(np.array_equal(one[name], other[name]) for name in "ab")
    assert not np.array_equal(one["a"], one["b"])
    assert not np.array_equal(one["a"], init(forward, seed=4, shapes={"x": 2})["a"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_float32_is_float64_rounded(dtype: str) -> None:
    values = init(zoo.mlp, dtype=dtype, shapes={"x": 64})
    exact = init(zoo.mlp, shapes={"x": 64})
    for name, value in values.items():
        assert value.dtype == dtype
        assert np.array_equal(value, exact[name].astype(dtype))


@pytest.mark.parametrize(
    ("init", "mean", "std"),
    [
        (initializers.normal(), 0, 1),
        (initializers.normal(0.1), 0, 0.1),
        (initializers.uniform(), 0, 1 / math.sqrt(3)),
        (initializers.uniform(2, 5), 3.5, 3 / math.sqrt(12)),
        (initializers.glorot, 0, math.sqrt(2 / (300 + 200))),
        (initializers.he, 0, math.sqrt(2 / 200)),
    ],
    ids=["normal", "normal(0.1)", "uniform", "uniform(2, 5)", "glorot", "he"],
)
def test_statistics(init: Initializer, mean: float, std: float) -> None:
    values = drawn("W", (300, 200), init)  # 60 000 values: errors of 0.3 %
    assert values.mean() == pytest.approx(mean, abs=0.015 * std)
    assert values.std() == pytest.approx(std, rel=0.015)
    if init.distribution == "normal":  # as many beyond two deviations as there should
        share = np.mean(np.abs(values) > 2 * std)
        assert share == pytest.approx(0.0455, abs=0.003)


@pytest.mark.parametrize(
    ("shape", "fans"), [((30, 20), 50), ((4, 3, 5, 5), 175), ((20,), 40)]
)
def test_glorots_bound(shape: tuple[int, ...], fans: int) -> None:
    values = drawn("W", shape, initializers.glorot)
    bound = math.sqrt(6 / fans)
    assert np.abs(values).max() < bound
    assert np.abs(values).max() > 0.8 * bound


@pytest.mark.parametrize(
    ("given", "expected"),
    [("zeros", 0.0), ("ones", 1.0), (0.25, 0.25), (3, 3.0), (np.float32(0.5), 0.5)],
)
def test_constants(given: object, expected: float) -> None:
    @program
    def f(x):
        return weight("w", (2, 3), given) @ x

    assert np.array_equal(init(f, shapes={"x": 3})["w"], np.full((2, 3), expected))


def test_defaults_by_rank() -> None:
    @program
    def f(x):
        return weight("m", (2, 3)) @ x + weight("v", (2,)) + weight("s")

    specs = f.trace(x=3).specs
    assert specs["m"].initializer == initializers.glorot
    assert specs["v"].initializer == specs["s"].initializer == initializers.normal()


def test_empty_weights() -> None:
    assert drawn("W", (0, 3), initializers.glorot).shape == (0, 3)
    assert drawn("W", (0,), initializers.normal()).shape == (0,)
