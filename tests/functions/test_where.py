"""Reductions of chosen elements: NumPy's values, and derivatives of these alone."""

from __future__ import annotations

import numpy as np
import pytest

from dtrain import loss_and_gradient, predict, program, weight
from dtrain.errors import ProgramError

REDUCTIONS = {
    "sum": lambda x, where: np.sum(x, axis=0, where=where),
    "sum of all": lambda x, where: x.sum(where=where),
    "mean": lambda x, where: np.mean(x, axis=0, where=where),
    "mean with kept axes": lambda x, where: x.mean(where=where, keepdims=True),
    "max": lambda x, where: np.max(x, axis=0, initial=-0.5, where=where),
    "min": lambda x, where: np.min(x, initial=0.5, where=where),
    "prod": lambda x, where: np.prod(x, axis=1, where=where),
    "prod with initial": lambda x, where: np.prod(x, initial=2.0, where=where),
    "var": lambda x, where: np.var(x, axis=0, where=where),
    "std": lambda x, where: x.std(where=where),
    "any": lambda x, where: np.any(x > 1, axis=0, where=where),
    "all": lambda x, where: np.all(x > -1, axis=0, where=where),
    "max with initial": lambda x, where: np.max(x, axis=1, initial=0.1) + 0 * where[0],
}


def samples():
    rng = np.random.default_rng(0)
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]], bool)
    return rng.normal(size=(4, 4, 3)), mask


@pytest.mark.parametrize("name", REDUCTIONS)
def test_the_value_is_numpys(name):
    reduce = REDUCTIONS[name]

    @program
    def reduced(x, mask):
        return reduce(x * weight("w"), np.greater(mask, 0)[:, None])

    x, mask = samples()
    found = predict(reduced, {"w": 1.0}, [x, mask])
    for sample, chosen, value in zip(x, mask, found, strict=True):
        right = reduce(sample, chosen[:, None])
        np.testing.assert_allclose(value, right, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "var", "prod"])
@pytest.mark.parametrize("backend", ["numpy", "fused"])
def test_other_elements_have_no_derivative_even_if_they_are_infinite(name, backend):
    reduce = REDUCTIONS[name]

    @program
    def reduced(x, mask):
        return np.sum(reduce(x * weight("w", (4, 3)), np.greater(mask, 0)[:, None]))

    x, mask = samples()
    weights = {"w": np.ones((4, 3))}
    broken = x.copy()
    broken[0, 2] = np.inf
    for i in range(4):
        given = [x[i : i + 1], mask[i : i + 1]]
        _, gradient = loss_and_gradient(
            reduced, weights, given, loss="mean", backend=backend
        )
        assert not gradient["w"][~mask[i]].any()
        if i:
            continue
        value, _ = loss_and_gradient(
            reduced, weights, [broken[:1], mask[:1]], loss="mean", backend=backend
        )
        assert np.isfinite(value)


@pytest.mark.parametrize(
    ("reduce", "message"),
    [
        (lambda x, m: np.max(x, axis=0, where=m), "initial="),
        (lambda x, m: np.sum(x[0], where=m), "does not broadcast"),
    ],
)
def test_what_numpy_refuses_is_refused(reduce, message):
    @program
    def reduced(x, mask):
        return reduce(x, np.greater(mask, 0)[:, None]) * weight("w")

    with pytest.raises(ProgramError, match=message):
        predict(reduced, {"w": 1.0}, list(samples()))
