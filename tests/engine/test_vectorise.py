"""Programs of scalars give the results of the vector view, with as few steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.contenders.dtrain_trainer import program_of
from benchmarks.workloads import CASES
from dtrain import (
    SoloWorld,
    ThreadWorld,
    init,
    loss_and_gradient,
    predict,
    program,
    train,
    weight,
    zoo,
)
from dtrain.descent import loss_graph
from dtrain.descent.losses import SquareError
from dtrain.engine.lowering.lower import plan
from dtrain.engine.vectorise.vectorise import vectorise
from dtrain.functions.contraction import contract
from dtrain.tracing.fingerprint import fingerprint
from dtrain.tracing.trace import Program
from tests.engine.models import MODELS
from tests.engine.wired import INPUTS, wired

NEAR = 1e-12


def scalars_of(gradient: dict[str, Any]) -> dict[str, float]:
    """The vector view's weights by the names of the scalar view's."""
    return {
        f"{name}." + ".".join(f"{i:02}" for i in place): float(value)
        for name, array in gradient.items()
        for place, value in np.ndenumerate(array)
    }


def test_the_scalar_view_is_the_vector_view() -> None:
    weights = init(zoo.mlp, shapes={"x": (64,)})
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((50, 64)), rng.standard_normal((50, 10))
    loss, gradient = loss_and_gradient(zoo.mlp, weights, x, t)
    again, edges = loss_and_gradient(zoo.mlp_scalar, scalars_of(weights), x, t)
    assert again == pytest.approx(loss, rel=NEAR)
    assert sorted(edges) == sorted(scalars_of(gradient))
    for name, slope in scalars_of(gradient).items():
        assert edges[name] == pytest.approx(slope, rel=NEAR, abs=NEAR)
    np.testing.assert_allclose(
        predict(zoo.mlp_scalar, scalars_of(weights), x),
        predict(zoo.mlp, weights, x),
        rtol=NEAR,
        atol=NEAR,
    )


def test_the_scalar_view_takes_the_steps_of_the_vector_view() -> None:
    steps = []
    for mlp in (zoo.mlp, zoo.mlp_scalar):
        joined = loss_graph.loss_graph(mlp.trace(x=64), SquareError())
        planned = plan(
            joined.graph, joined.layout("float32"), 16, gradients=joined.gradients
        )
        steps.append([step.kernel for step in planned.steps])
    assert sorted(steps[0]) == sorted(steps[1])


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_random_layers_of_scalars(seed: int) -> None:
    program = wired(seed)
    rng = np.random.default_rng(seed)
    weights = init(program, seed, shapes={"x": (INPUTS,)})
    weights = {name: value / 2 for name, value in weights.items()}
    columns = {"x": rng.standard_normal((5, INPUTS)), **scalar_columns(rng, 5)}
    graph = program.trace(x=INPUTS)
    targets = rng.standard_normal((5, *graph.nodes[graph.output].shape))

    def run() -> tuple[float, dict[str, Any]]:
        return loss_and_gradient(program, weights, columns, targets, block=3)

    loss, gradient = run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_graph, "vectorise", lambda graph, **_: graph)
        expected, slopes = run()
    assert loss == pytest.approx(expected, rel=NEAR)
    size = max(1, *(float(np.max(np.abs(slope))) for slope in slopes.values()))
    assert list(gradient) == list(slopes)
    for name, slope in slopes.items():
        np.testing.assert_allclose(gradient[name], slope, rtol=0, atol=NEAR * size)


def scalar_columns(rng: np.random.Generator, samples: int) -> dict[str, Any]:
    return {name: rng.standard_normal(samples) for name in "pq"}


def test_some_random_layers_are_vectorised_and_some_are_not() -> None:
    graphs = [wired(seed).trace(x=INPUTS) for seed in range(20)]
    changed = [vectorise(graph, filled=True) is not graph for graph in graphs]
    assert 5 < sum(changed) < 15


def test_any_number_of_ranks_gives_the_bits_of_one() -> None:
    edges, _ = MODELS["edges"]
    rng = np.random.default_rng(0)
    data = {"x": rng.standard_normal((53, 6)), "t": rng.standard_normal((53, 3))}
    runs = [
        train(edges, data, epochs=2, learning_rate=0.05, batch=24, block=4, world=world)
        for world in (SoloWorld(), *(ThreadWorld(ranks) for ranks in range(2, 6)))
    ]
    assert len({run.digest for run in runs}) == 1
    names = edges.trace(x=6).weights
    assert sorted(runs[0].weights) == sorted(names)
    assert {w.shape for w in runs[0].weights.values()} == {()}


def layer(width: int, read: int, names: str = "{:03}.{:03}") -> Program:
    """Neurons that read some of the inputs each."""

    @program
    def layer(x: Any) -> Any:
        n = x.shape[0]
        return np.stack(
            [
                np.tanh(
                    sum(
                        weight(names.format(i, k)) * x[(3 * i + 5 * k * k) % n]
                        for k in range(read)
                    )
                )
                for i in range(width)
            ]
        )

    return layer


@pytest.mark.parametrize("names", ["{:03}.{:03}", "{}.{}"])
@pytest.mark.parametrize("width", [8, 50])
def test_a_layer_is_one_product_however_wide(width: int, names: str) -> None:
    for read in (2, 7):
        graph = layer(width, read, names).trace(x=23)
        written = vectorise(graph, filled=True)
        assert len(written.nodes) < 10
        assert sum(node.function is contract for node in written.nodes) == 1


def test_sums_of_few_of_many_values_stay_scalar() -> None:
    graph = layer(300, 1).trace(x=1000)
    assert not any(
        node.function is contract for node in vectorise(graph, filled=True).nodes
    )


def test_a_narrow_irregular_graph_stays_as_it_is() -> None:
    for case in CASES:
        if case.model == "wiring" and case.nodes <= 600:
            graph = program_of(case).trace(x=32)
            assert vectorise(graph, filled=True) is graph


def test_the_fingerprint_is_that_of_the_program_as_written() -> None:
    graph = zoo.mlp_scalar.trace(x=64)
    before = fingerprint(graph)
    assert fingerprint(vectorise(graph, filled=True)) != before
    assert fingerprint(zoo.mlp_scalar.trace(x=64)) == before


def test_the_order_of_additions_makes_no_difference_to_the_graph() -> None:
    def neuron(order: Sequence[int], bias_first: bool) -> Program:
        @program
        def neuron(x: Any) -> Any:
            total = weight("b") if bias_first else 0
            for i in order:
                total = weight(f"w{i}") * x[i] + total
            return total if bias_first else total + weight("b")

        return neuron

    graphs = [
        vectorise(neuron(order, first).trace(x=9), filled=True)
        for order, first in ((range(9), False), (range(8, -1, -1), True))
    ]
    assert fingerprint(graphs[0]) == fingerprint(graphs[1])
    assert any(node.function is contract for node in graphs[0].nodes)


def test_a_value_that_is_not_finite_does_not_spread() -> None:
    @program
    def saturated(x: Any) -> Any:
        hidden = [np.exp(x[i]) for i in range(20)]
        read = [[hidden[i], hidden[(i + 1) % 20]] for i in range(20)]
        return np.stack(
            [
                np.tanh(weight(f"{i:02}a") * a + weight(f"{i:02}b") * b)
                for i, (a, b) in enumerate(read)
            ]
        )

    names = saturated.trace(x=20).weights
    x = np.zeros((1, 20))
    x[0, 3] = 1000.0
    found = predict(saturated, dict.fromkeys(names, 0.1), x)
    expected = np.full((1, 20), np.tanh(0.2))
    expected[0, 2:4] = 1.0
    np.testing.assert_allclose(found, expected, rtol=NEAR)


def test_an_overflow_in_one_sum_does_not_reach_other_gates():
    """No derivative would tell of a NaN that a comparison has taken for no."""

    @program
    def gates(x):
        h = [np.exp(x[i]) for i in range(20)]
        sums = [
            weight(f"{i:02}a") * h[i] + weight(f"{i:02}b") * h[(i + 1) % 20]
            for i in range(20)
        ]
        v = weight("v", (20,))
        return np.sum(np.stack([np.where(sums[i] > 0, v[i], -v[i]) for i in range(20)]))

    names = (f"{i:02}{letter}" for i in range(20) for letter in "ab")
    weights = {**dict.fromkeys(names, 0.1), "v": np.ones(20)}
    x = np.zeros((1, 20))
    x[0, 3] = 1000.0
    loss, gradient = loss_and_gradient(gates, weights, [x], loss="mean")
    assert loss == 20
    np.testing.assert_array_equal(gradient["v"], np.ones(20))
