"""The check itself: it passes what is right, and finds an error of 0.05 %."""

import numpy as np
import pytest

from dtrain import base_function, check, program, weight, zoo
from dtrain.diagnose.probe import TOLERANCE
from dtrain.gradient import differentiate
from tests.training.programs import distance, line, line_data, net, net_data


def planted(factor):
    """A program whose first weight's derivative is wrong by a factor."""

    @base_function(vjp=lambda v, y, _x: (v * (1 - y * y) * factor,))
    def crooked(x):
        return np.tanh(x)

    @program
    def R(x):
        return crooked(weight("W", init=0.7) * x) + weight("b", init=0.1)

    return R


X = np.linspace(-1, 1, 17)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("factor", [1.0005, 0.9995, -1.0, 0.0])
def test_a_planted_error_is_found_and_its_weight_named(factor, seed):
    found = check(planted(factor), [X], np.sin(X), seed=seed)
    assert not found.passed
    assert {c.weight: c.passed for c in found.weights} == {"W": False, "b": True}
    wrong = found.weights[0]
    assert wrong.error > 100 * TOLERANCE
    assert wrong.gradient == pytest.approx(factor * wrong.difference, abs=1e-9)
    assert str(found).splitlines()[0].startswith("W ")
    assert str(found).splitlines()[0].endswith("WRONG")


@pytest.mark.parametrize("seed", [-1, 0, 1, 2**70])
def test_what_is_right_passes(seed):
    data = net_data(20)
    assert check(planted(1.0), [X], np.sin(X), seed=seed).passed
    assert check(net, [data["x"], data["s"]], data["t"], seed=seed).passed
    assert check(net, [data["x"], data["s"]], seed=seed).passed  # random targets
    assert check(distance, [data["x"][:, :3]], loss="mean", seed=seed).passed


def test_the_sum_over_paths_is_held_against_the_walk(monkeypatch):
    inputs = {name: zoo.DATA["lecture"]().columns[name][:20] for name in "PQ"}
    right = check(zoo.lecture, inputs)
    assert [c.paths for c in right.weights] == [2, 1, 1]
    assert all(c.path_error < 1e-14 for c in right.weights)
    assert "2 paths to the loss: " in str(right)
    # What several consumers pass to one value is not added up.
    monkeypatch.setattr(differentiate, "_total", lambda parts: parts[0])
    found = check(zoo.lecture, inputs)
    assert not found.passed
    assert {c.weight: c.defined for c in found.weights} == {
        "W0": False,
        "W1": True,
        "W2": True,
    }
    assert str(found).splitlines()[0].endswith("WRONG, by the sum over paths")


def test_paths_that_are_too_many_are_counted_only():
    @program
    def ladder(x):
        a, b = weight("w", init=0.5) * x, x
        for _ in range(100):
            a, b = np.tanh(a + b), np.sin(a - b)
        return a

    (found,) = check(ladder, [X]).weights
    assert (found.paths, found.path_error, found.passed) == (2**99, None, True)


def test_it_checks_where_it_is_told_to():
    data = line_data()
    weights = {"slope": 3.0, "offset": 1.0}  # the minimum: no slope at all
    found = check(line, [data["x"]], data["t"], weights=weights)
    assert found.passed
    assert max(abs(c.gradient) for c in found.weights) < 1e-12
    assert weights == {"slope": 3.0, "offset": 1.0}


def test_a_kink_is_named_and_proves_nothing():
    @program
    def kinked(x):
        return np.maximum(weight("W") * x, 0) + np.tanh(weight("V") * x)

    found = check(kinked, [X], weights={"W": 0.0, "V": 0.5})  # all samples at the kink
    by_name = {c.weight: c for c in found.weights}
    assert found.passed
    assert not by_name["W"].passed
    assert len(by_name["W"].kinks) == 1
    assert "test_check.py" in by_name["W"].kinks[0]
    assert by_name["V"].passed
    assert "at a kink: " in str(found)
    away = check(kinked, [X[X > 0]], weights={"W": 0.3, "V": 0.5})
    assert all(c.passed for c in away.weights)


@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_a_wide_program_hides_no_error_behind_its_kinks(factor):
    """With so many units some are always within a step of their kink."""

    @base_function(vjp=lambda v, _y, x: (np.where(x > 0, v * factor, 0),))
    def ramp(x):
        return np.maximum(x, 0)

    @program
    def wide(x):
        return np.sum(ramp(weight("W", (512, 32)) @ x))

    x = np.random.default_rng(0).standard_normal((48, 32))
    assert check(wide, x).passed == (factor == 1.0)


def test_what_is_not_finite_is_said_to_be_so():
    @program
    def logarithm(x):
        return weight("w") * np.log(x)

    found = check(logarithm, [np.array([-1.0, 1.0])])
    assert not found.passed
    assert "NOT FINITE" in str(found)
