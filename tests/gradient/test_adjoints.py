"""Transfer functions: adjoints are transposes, cost is linear, autograd agrees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from dtrain import layers, loss_and_gradient, program, weight
from dtrain.descent import losses
from dtrain.descent.loss_graph import loss_graph
from dtrain.tracing.graph import FlowGraph
from tests.functions.cases import CASES, Case
from tests.tolerances import FLOAT64

LINEAR = ["negative", "sum", "reshape", "transpose", "broadcast", "index", "place"]


@pytest.mark.parametrize("case", [c for c in CASES if c.name in LINEAR], ids=str)
def test_an_adjoint_is_the_transpose(case: Case) -> None:
    # ⟨v, f(u)⟩ = ⟨fᵀ(v), u⟩, exactly but for the order of sums.
    rng = np.random.default_rng(0)
    us = [rng.standard_normal(shape) for shape in case.shapes]
    image = case.call(*us)
    v = rng.standard_normal(np.shape(image))

    @program
    def paired(x):
        ws = [weight(f"w{i}", shape) for i, shape in enumerate(case.shapes)]
        return np.sum(case.call(*ws) * v) * x

    zeros = {f"w{i}": np.zeros(shape) for i, shape in enumerate(case.shapes)}
    _, gradient = loss_and_gradient(paired, zeros, [np.ones(1)], loss="mean")
    back = sum(np.sum(g * u) for g, u in zip(gradient.values(), us, strict=True))
    assert back == pytest.approx(np.sum(v * image), rel=FLOAT64.sums, abs=1e-14)


def test_adjoints_of_contractions_are_transposes() -> None:
    rng = np.random.default_rng(1)
    A, x, v = (
        rng.standard_normal((4, 3)),
        rng.standard_normal(3),
        rng.standard_normal(4),
    )

    @program
    def bilinear(v):
        return v @ (weight("A", (4, 3)) @ weight("x", (3,)))

    _, gradient = loss_and_gradient(bilinear, {"A": A, "x": x}, [v[None]], loss="mean")
    np.testing.assert_allclose(gradient["A"], np.outer(v, x), rtol=FLOAT64.value)
    np.testing.assert_allclose(gradient["x"], A.T @ v, rtol=FLOAT64.sums)


def mlp(np: Any, w: Any, x: Any) -> Any:
    h = np.tanh(w["W"] @ x + w["b"])
    return w["V"] @ h - np.sum(h) * w["s"]


def recurrent(np: Any, w: Any, x: Any) -> Any:
    h = w["b"]
    for i in range(3):
        h = np.tanh(w["W"] @ (h[:3] * x[i]) + w["b"])
    return h


def attention(np: Any, w: Any, x: Any) -> Any:
    keys = np.outer(x, w["b"])
    scores = keys @ w["W"] @ x
    p = np.exp(scores - np.max(scores))
    return (p / np.sum(p)) @ keys


def pieces(np: Any, w: Any, x: Any) -> Any:
    y = np.concatenate([w["W"][::-1, 0], x * w["b"][:3], np.ravel(w["V"])[::3]])
    return np.where(y > 0, y * y, np.sin(3 * y)) + np.maximum(y, w["s"])


def ratios(np: Any, w: Any, x: Any) -> Any:
    y = np.sum(w["W"] * x, axis=1) / (2 + np.sum(np.square(w["V"])))
    return np.log1p(np.exp(y)) ** w["s"] / np.sqrt(1 + np.dot(x, x))


@pytest.mark.parametrize(
    "function", [mlp, recurrent, attention, pieces, ratios], ids=lambda f: f.__name__
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:autograd")
def test_autograd_finds_the_same_gradient(function: Callable[..., Any]) -> None:
    rng = np.random.default_rng(2)
    shapes = {"W": (4, 3), "b": (4,), "V": (2, 4), "s": ()}
    values = {n: np.asarray(rng.uniform(0.2, 1, s)) for n, s in shapes.items()}
    xs = rng.uniform(-1, 1, (6, 3))
    targets = rng.standard_normal((6, *np.shape(function(np, values, xs[0]))))

    @program
    def traced(x):
        return function(np, {n: weight(n, s) for n, s in shapes.items()}, x)

    def mean_square(w: Any) -> Any:
        errors = [t - function(anp, w, x) for x, t in zip(xs, targets, strict=True)]
        return sum(anp.sum(e * e) for e in errors) / len(xs)

    loss, gradient = loss_and_gradient(traced, values, xs, targets, block=4)
    assert loss == pytest.approx(mean_square(values), rel=FLOAT64.sums)
    for name, expected in autograd.grad(mean_square)(values).items():
        np.testing.assert_allclose(
            gradient[name], expected, rtol=FLOAT64.sums, atol=FLOAT64.sums
        )


@pytest.mark.parametrize("of", ["input", "weight", "node"])
def test_many_slices_cost_a_node_each(of: str) -> None:
    def chain(length: int) -> FlowGraph:
        @program
        def chained(x):
            w = weight("w", (1000,))
            source = {"input": x * w, "weight": w, "node": np.tanh(w) * 2}[of]
            h = x[0]
            for t in range(length):
                h = np.tanh(h + source[t])
            return h

        return loss_graph(chained.trace(x=1000), losses.named("mean")).graph

    graphs = [chain(length) for length in (10, 100, 1000)]
    nodes = [len(graph.nodes) for graph in graphs]
    elements = [sum(n.shape == (1000,) for n in graph.nodes) for graph in graphs]
    assert (nodes[2] - nodes[1]) == pytest.approx(10 * (nodes[1] - nodes[0]), rel=0.01)
    assert elements[0] == elements[1] == elements[2]  # no array for each slice


def test_the_adjoint_of_a_weight_is_summed_before_it_is_added() -> None:
    # Two uses of a shared matrix: two matrix products and an addition of matrices.
    @program
    def shared(x):
        W = weight("W", (5, 5))
        return W @ np.tanh(W @ x)

    graph = loss_graph(shared.trace(x=5), losses.named("square")).graph
    per_sample = [
        n for n in graph.nodes if n.shape == (5, 5) and n.kind.name == "SAMPLE"
    ]
    assert not per_sample


def test_strict_numpy_errors_are_not_raised() -> None:
    @program
    def net(x):
        return layers.sigmoid(layers.relu(layers.dense(x, 4, name="h"))) ** 2

    rng = np.random.default_rng(3)
    weights = {"h.W": rng.standard_normal((4, 3)), "h.b": np.zeros(4)}
    with np.errstate(all="raise"):
        loss, gradient = loss_and_gradient(
            net, weights, rng.standard_normal((6, 3)), np.zeros((6, 4))
        )
    assert np.isfinite(loss)
    assert all(np.isfinite(g).all() for g in gradient.values())
