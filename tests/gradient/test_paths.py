"""The sum over paths: counted, enumerated, refused, and equal to back-propagation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dtrain import init, loss_and_gradient, program, weight, zoo
from dtrain.errors import UsageError
from dtrain.functions.base import FUNCTIONS
from dtrain.gradient.paths import Paths, SumOverPaths
from tests.functions.cases import CASES
from tests.functions.slopes import program_of
from tests.gradient.test_random_programs import INPUTS, STEPS, WEIGHTS, interpret
from tests.tolerances import FLOAT64


def ladder(rungs: int):
    """Two values that both go into both of the next: 2ⁿ paths in 2n nodes."""

    @program
    def climb(x):
        a, b = weight("w") * x, x
        for _ in range(rungs):
            a, b = np.tanh(a + b), np.sin(a - b)
        return a + b

    return climb


def by_paths(program_, weights, inputs):
    """The derivatives of a program's output for one sample, by every weight."""
    graph = program_.trace(**{name: np.shape(x) for name, x in inputs.items()})
    point = SumOverPaths(graph, {**weights, **inputs})
    return {name: point.derivative(i) for name, i in graph.weights.items()}


def by_back_propagation(program_, weights, inputs):
    columns = {name: np.asarray(x)[None] for name, x in inputs.items()}
    return loss_and_gradient(program_, weights, columns, loss="mean")[1]


def assert_equal(program_, weights, inputs):
    with np.errstate(all="ignore"):
        defined = by_paths(program_, weights, inputs)
    computed = by_back_propagation(program_, weights, inputs)
    for name, expected in defined.items():
        size = max(1.0, float(np.max(np.abs(expected), initial=0)))
        atol = size * FLOAT64.sums
        np.testing.assert_allclose(computed[name], expected, rtol=0, atol=atol)


def test_the_paths_of_the_lecture_and_their_products():
    graph = zoo.lecture.trace()
    values = {"P": 0.3, "Q": 1.2, "W0": 0.7, "W1": -1.1, "W2": 1.9}
    point = SumOverPaths(graph, values)
    a, b, c, d = (float(point.values[graph.nodes.index(n)]) for n in graph.nodes[5:9])
    e, f = np.tanh(c), 1 / (1 + np.exp(-d))
    b_e, b_f = np.cos(a) * 0.3 * -1.1 * (1 - e * e), np.cos(a) * 0.3 * 1.9 * f * (1 - f)
    W0, W1 = graph.weights["W0"], graph.weights["W1"]
    left, right = (float(point.product(path)) for path in point.paths.all(W0))
    assert left == pytest.approx(b_e * f, rel=1e-14)
    assert right == pytest.approx(b_f * e, rel=1e-14)
    assert float(point.derivative(W0)) == left + right
    assert float(point.derivative(W1)) == pytest.approx(b * (1 - e * e) * f, rel=1e-14)
    assert_equal(zoo.lecture, {w: values[w] for w in graph.weights}, {"P": 0.3, "Q": 1})


@pytest.mark.parametrize("rungs", [0, 1, 5, 100])
def test_paths_are_counted_without_being_visited(rungs):
    graph = ladder(rungs).trace()
    assert Paths(graph).count(graph.weights["w"]) == 2**rungs
    assert Paths(graph).count(graph.output) == 1
    assert list(Paths(graph).all(graph.output)) == [()]


def test_too_many_are_refused_with_their_number():
    graph = ladder(100).trace()
    point = SumOverPaths(graph, {"w": 0.5, "x": 0.1})
    with pytest.raises(UsageError) as caught:
        point.derivative(graph.weights["w"])
    assert "about 10³⁰ paths from w to climb" in str(caught.value)
    few = SumOverPaths(ladder(3).trace(), {"w": 0.5, "x": 0.1})
    start = few.graph.weights["w"]
    assert few.derivative(start, limit=8) == few.derivative(start)
    with pytest.raises(UsageError, match="8 paths"):
        few.derivative(start, limit=7)


def test_as_many_as_are_counted_and_each_once():
    graph = ladder(6).trace()
    paths = Paths(graph)
    for number in range(len(graph.nodes)):
        found = list(paths.all(number))
        assert len(found) == len(set(found)) == paths.count(number)
        for path in found:
            at = number
            for edge in path:
                assert graph.nodes[edge.node].inputs[edge.input] == at
                at = edge.node
            assert at == graph.output


def test_a_path_as_long_as_the_graph():
    @program
    def chain(x):
        y = weight("w") * x
        for _ in range(4000):
            y = np.sin(y)
        return y

    assert_equal(chain, {"w": np.array(0.7)}, {"x": 0.9})


def test_the_derivative_of_a_vector_is_its_jacobian():
    @program
    def layer(x):
        return np.tanh(weight("W", (2, 3)) @ x)

    graph = layer.trace(x=3)
    W, x = np.arange(6).reshape(2, 3) / 7, np.array([1.0, -2.0, 0.5])
    point = SumOverPaths(graph, {"W": W, "x": x})
    y = np.tanh(W @ x)
    expected = np.einsum("i,ij,k->ijk", 1 - y * y, np.eye(2), x)
    np.testing.assert_allclose(point.derivative(graph.weights["W"]), expected)
    assert point.derivative(graph.output).tolist() == np.eye(2).tolist()


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if FUNCTIONS[c.name].differentiable and not c.over_block],
    ids=str,
)
def test_every_function_has_its_jacobian(case):
    rng = np.random.default_rng(0)
    kinds = "w" * len(case.shapes)
    weights = {f"w{i}": case.draw(rng, i) for i in range(len(kinds))} | {"t": 0.0}
    assert_equal(
        program_of(case.call, case.shapes, kinds, scalar=True), weights, {"c": 0.8}
    )


@settings(
    max_examples=60,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(steps=STEPS, seed=st.integers(0, 99))
def test_it_equals_back_propagation_on_random_programs(steps, seed):
    rng = np.random.default_rng(seed)
    weights = {name: rng.uniform(-1, 1, shape) for name, shape in WEIGHTS.items()}
    inputs = {name: rng.uniform(-1, 1, shape) for name, shape in INPUTS.items()}

    @program
    def traced(x, y, z):
        symbols = {name: weight(name, shape) for name, shape in WEIGHTS.items()}
        return interpret(steps, symbols, {"x": x, "y": y, "z": z})

    graph = traced.trace(**INPUTS)
    paths = Paths(graph)
    assume(sum(map(paths.count, graph.weights.values())) < 2000)
    assert_equal(traced, weights, inputs)


def test_weights_that_are_shared_by_programs():
    @program
    def recurrent(x):
        h = weight("h0", 2)
        for t in range(3):
            h = np.tanh(weight("U", (2, 2)) @ h + weight("V", (2, 3)) @ x * t)
        return h @ h

    weights = init(recurrent, shapes={"x": (3,)})
    assert_equal(recurrent, weights, {"x": np.array([0.2, -0.4, 1.0])})
