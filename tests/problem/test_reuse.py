"""A second call on the same program and shapes reuses the plan, and only then."""

from __future__ import annotations

import types

import numpy as np
import pytest

from dtrain import loss_and_gradient, predict, program, weight
from dtrain.engine import engine as engine_module
from dtrain.tracing.dependencies import Dependencies
from tests.training.programs import net, net_data

FACTOR = 2.0
TABLE = [1.0, 2.0]


def double(x):
    return FACTOR * x


@program
def scaled(x):
    return weight("w") * double(x)


@program
def listed(x):
    return weight("w") * TABLE[1] * x


@pytest.fixture
def plans(monkeypatch):
    """Count the engines' plans."""
    made = []
    plan = engine_module.plan

    def counted(*args, **options):
        made.append(args)
        return plan(*args, **options)

    monkeypatch.setattr(engine_module, "plan", counted)
    return made


def test_later_calls_plan_nothing_and_give_the_same_numbers(plans):
    data, rng = net_data(40), np.random.default_rng(0)
    shapes = {"W": (4, 4), "b": (4,), "out.W": (2, 4), "out.b": (2,)}
    inputs = {"x": data["x"], "s": data["s"]}

    def call(weights, scale):
        scaled_inputs = {name: scale * array for name, array in inputs.items()}
        loss, gradient = loss_and_gradient(net, weights, scaled_inputs, data["t"])
        return loss, gradient, predict(net, weights, scaled_inputs)

    draws = [{k: rng.normal(size=s) for k, s in shapes.items()} for _ in range(3)]
    first = [call(weights, i + 1.0) for i, weights in enumerate(draws)]
    before = len(plans)
    again = [call(weights, i + 1.0) for i, weights in enumerate(draws)]
    assert len(plans) == before
    for (loss, gradient, output), (loss2, gradient2, output2) in zip(
        first, again, strict=True
    ):
        assert loss == loss2
        np.testing.assert_array_equal(output, output2)
        for name in gradient:
            np.testing.assert_array_equal(gradient[name], gradient2[name])


def test_a_result_is_the_callers():
    x = np.arange(5.0)
    first = predict(scaled, {"w": 1.0}, {"x": x})
    kept = first.copy()
    predict(scaled, {"w": 5.0}, {"x": x})
    np.testing.assert_array_equal(first, kept)


def test_a_changed_global_is_seen(monkeypatch):
    x = np.arange(3.0)
    np.testing.assert_array_equal(predict(scaled, {"w": 1.0}, {"x": x}), 2 * x)
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    np.testing.assert_array_equal(predict(scaled, {"w": 1.0}, {"x": x}), 3 * x)


def test_a_changed_closure_is_seen():
    factor = 2.0

    @program
    def closed(x):
        return weight("w") * factor * x

    x = np.arange(3.0)
    np.testing.assert_array_equal(predict(closed, {"w": 1.0}, {"x": x}), 2 * x)
    factor = 5.0
    np.testing.assert_array_equal(predict(closed, {"w": 1.0}, {"x": x}), 5 * x)


def test_a_changed_list_is_seen():
    x = np.arange(3.0)
    np.testing.assert_array_equal(predict(listed, {"w": 1.0}, {"x": x}), 2 * x)
    TABLE[1] = 7.0
    try:
        np.testing.assert_array_equal(predict(listed, {"w": 1.0}, {"x": x}), 7 * x)
    finally:
        TABLE[1] = 2.0


def test_random_numbers_are_drawn_anew():
    @program
    def noisy(x):
        return weight("w") * x + np.random.default_rng().normal()  # unseeded on purpose

    x = np.zeros(2)
    seen = {predict(noisy, {"w": 1.0}, {"x": x})[0] for _ in range(3)}
    assert len(seen) == 3


def test_what_can_change_unseen_is_not_known():
    def uses_an_object(x):
        return x * SPACE.factor

    assert not Dependencies(uses_an_object).known
    assert Dependencies(scaled.function).known
    assert not Dependencies(listed.function).known


SPACE = types.SimpleNamespace(factor=2.0)


def test_the_data_are_not_kept_alive():
    import gc
    import weakref

    x = np.arange(1000.0)
    reference = weakref.ref(x)
    predict(scaled, {"w": 1.0}, {"x": x})
    loss_and_gradient(scaled, {"w": 1.0}, {"x": x}, x)
    del x
    gc.collect()
    assert reference() is None
