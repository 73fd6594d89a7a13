"""Reuse of an engine with other columns and with other weights."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest

from dtrain import program, weight
from dtrain.engine.engine import Engine
from dtrain.errors import UsageError
from dtrain.gradient.layout import Layout
from dtrain.gradient.vector import Weights
from dtrain.problem.shard import RowBlocks
from tests.engine.models import MODELS, Model

backends = pytest.mark.parametrize("backend", ["numpy", "fused"])


def _engine(model: Model, columns: Any, backend: str) -> Engine:
    graph, layout = model.objective.graph, model.weights.layout
    gradients = model.objective.gradients
    return Engine(graph, layout, columns, gradients=gradients, backend=backend)


def _bits(engine: Engine, weights: Weights) -> list[bytes]:
    found = []
    parts = [RowBlocks(0, 2, 4, slice(0, 8)), RowBlocks(2, 1, 3, slice(8, 11))]
    with np.errstate(all="ignore"):
        for one in engine.gradients(weights, parts):
            found += [one.slots.tobytes(), one.tail.tobytes()]
    return found


@backends
@pytest.mark.parametrize("name", MODELS)
def test_a_rebound_engine_computes_what_a_new_one_does(name: str, backend: str) -> None:
    model = Model.of(name, 11)
    reversed_views = {key: x[::-1] for key, x in model.columns.items()}
    copies = {key: x[::-1].copy() for key, x in model.columns.items()}
    engine = _engine(model, model.columns, backend)
    for columns in (copies, model.columns, reversed_views, copies):
        engine.rebind(columns)
        expected = _bits(_engine(model, columns, backend), model.weights)
        assert _bits(engine, model.weights) == expected
        engine.release()


@backends
def test_an_engine_computes_at_the_weights_of_each_call(backend: str) -> None:
    layout = Layout.of({"w": ()}, "float64")
    graph = program(lambda x: np.tanh(weight("w")) * x).trace()
    engine = Engine(graph, layout, {"x": np.ones(4)}, backend=backend)
    first, second, third = (Weights(layout) for _ in range(3))
    for weights, value in (
        (first, 2.0),
        (first, 3.0),
        (second, 4.0),
        (first, 5.0),
        (third, 6.0),
        (third, 7.0),
        (second, 8.0),
    ):
        weights.assign({"w": value})
        for _ in range(2):
            block = RowBlocks(0, 1, 4, slice(0, 4))
            (output,) = engine.run(weights, block).values()
            np.testing.assert_allclose(output, np.tanh(value), rtol=1e-15)
            assert weights.values["w"] == value


@backends
def test_a_released_engine_holds_no_columns(backend: str) -> None:
    model = Model.of("mlp", 11)
    engine = _engine(model, model.columns, backend)
    columns = {key: x.copy() for key, x in model.columns.items()}
    references = [weakref.ref(x) for x in columns.values()]
    engine.rebind(columns)
    _bits(engine, model.weights)
    engine.release()
    del columns
    assert all(reference() is None for reference in references)


@backends
def test_columns_that_do_not_fit_are_rejected(backend: str) -> None:
    graph = program(lambda x: weight("w") * x).trace(x=3)
    layout = Layout.of({"w": ()}, "float64")
    engine = Engine(graph, layout, {"x": np.ones((4, 3))}, backend=backend)
    with pytest.raises(UsageError, match="input 'x' has no column"):
        engine.rebind({"y": np.ones((4, 3))})
    with pytest.raises(UsageError, match=r"'x' has samples of shape \(2,\), but .*3"):
        engine.rebind({"x": np.ones((4, 2))})


@backends
def test_rows_after_the_end_of_a_column_are_not_read(backend: str) -> None:
    graph = program(lambda x: weight("w") * x).trace()
    layout = Layout.of({"w": ()}, "float64")
    engine = Engine(graph, layout, {"x": np.ones(8)}, backend=backend)
    weights, block = Weights(layout), RowBlocks(0, 1, 8, slice(0, 8))
    engine.run(weights, block)
    engine.rebind({"x": np.ones(4)})
    with pytest.raises(ValueError, match="could not broadcast"):
        engine.run(weights, block)
