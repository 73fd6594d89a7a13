"""Graphs of thousands of nodes, made by loops: deep, irregular, recurrent."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dtrain import loss_and_gradient, program, weight
from dtrain.descent.loss_graph import loss_graph
from dtrain.descent.losses import SquareError
from dtrain.engine.lowering.lower import plan
from dtrain.engine.plans.batching import batched
from dtrain.engine.plans.dependences import dependences
from dtrain.engine.plans.plan import Plan
from dtrain.gradient.paths import Paths
from dtrain.tracing.fingerprint import fingerprint
from dtrain.tracing.trace import Program
from tests.engine.models import Model
from tests.engine.test_batching import wired


def chain(layers: int) -> Program:
    """Two nodes a layer, one after the other, of three shared weights."""

    @program
    def chain(x: Any) -> Any:
        for i in range(layers):
            x = np.sin(weight(f"w{i % 3}") * x)
        return x

    return chain


@pytest.mark.parametrize(
    "layers", [1_500, pytest.param(10_000, marks=pytest.mark.full)]
)
def test_a_long_chain_is_trained(layers: int) -> None:
    """Traced, counted, printed, differentiated, planned, run: nothing recurses."""
    assert sys.getrecursionlimit() <= 1000
    graph = chain(layers).trace()
    assert len(graph.nodes) == 2 * layers + 4
    assert len(graph.levels) == 2 * layers + 1
    assert str(graph).count("\n") == len(graph.nodes)
    assert len(fingerprint(graph)) == 64
    assert Paths(graph).count(graph.inputs["x"]) == 1
    weights = {"w0": 1.5, "w1": 1.9, "w2": 2.5}
    x, t = np.array([0.3, -0.7]), np.array([0.1, 0.2])
    loss, gradient = loss_and_gradient(chain(layers), weights, {"x": x}, t)
    values, slopes = x, {name: np.zeros(2) for name in weights}
    for i in range(layers):  # forward mode
        name = f"w{i % 3}"
        inner = weights[name] * values
        for other in slopes:
            rest = values if other == name else 0.0
            slopes[other] = np.cos(inner) * (weights[name] * slopes[other] + rest)
        values = np.sin(inner)
    np.testing.assert_allclose(loss, np.mean((t - values) ** 2))
    for name, slope in slopes.items():
        right = np.mean(-2 * (t - values) * slope)
        np.testing.assert_allclose(gradient[name], right, atol=1e-12)


def recurrent(steps: int) -> Program:
    """One layer, unrolled over time."""

    @program
    def recurrent(x: Any) -> Any:
        h, W, U = weight("h", 3), weight("W", (3, 3)), weight("U", (3, 2))
        for t in range(steps):
            h = np.tanh(W @ h + U @ x[t])
        return h

    return recurrent


def test_a_recurrent_network_of_1000_steps_has_the_gradient_through_time() -> None:
    steps = 1000
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((4, steps, 2)), rng.standard_normal((4, 3))
    W, U, h = rng.standard_normal((3, 3)), rng.standard_normal((3, 2)), np.ones(3)
    given = {"W": W, "U": U, "h": h}
    loss, gradient = loss_and_gradient(recurrent(steps), given, {"x": x}, t)
    states = [np.tile(h, (4, 1))]
    for i in range(steps):
        states.append(np.tanh(states[-1] @ W.T + x[:, i] @ U.T))
    right = {name: np.zeros_like(value) for name, value in given.items()}
    v = -2 / 4 * (t - states[-1])
    for i in reversed(range(steps)):  # back-propagation through time, by hand
        inner = v * (1 - states[i + 1] ** 2)
        right["W"] += inner.T @ states[i]
        right["U"] += inner.T @ x[:, i]
        v = inner @ W
    right["h"] = v.sum(0)
    np.testing.assert_allclose(loss, np.mean(np.sum((t - states[-1]) ** 2, 1)))
    for name, value in right.items():
        np.testing.assert_allclose(gradient[name], value, rtol=1e-8, atol=1e-12)


def slices(count: int) -> Program:
    """Slices of one array that all have adjoints."""

    @program
    def slices(x: Any) -> Any:
        parts = np.tanh(weight("w", count + 1) * x)
        y = parts[0]
        for t in range(count):
            y = np.sin(y + parts[t : t + 2].sum())
        return y

    return slices


def planned(made: Program, **shapes: int | tuple[int, ...]) -> Plan:
    """The plan of a program's objective for blocks of 4."""
    joined = loss_graph(made.trace(**shapes), SquareError())
    layout = joined.layout("float64")
    return batched(plan(joined.graph, layout, 4, gradients=joined.gradients))


SIZED: dict[str, Callable[[int], Plan]] = {
    "chain": lambda n: planned(chain(n)),
    "recurrent": lambda n: planned(recurrent(n), x=(n, 2)),
    "slices": lambda n: planned(slices(n), x=n + 1),
}


@pytest.mark.parametrize("name", SIZED)
def test_a_graph_twice_as_long_is_twice_the_work(name: str) -> None:
    """In steps, in elements that they write, and in what they wait for."""

    def work(size: int) -> tuple[int, int, int]:
        found = SIZED[name](size)
        written = sum(math.prod(step.out.shape) for step in found.steps)
        waits = sum(map(len, dependences(found, found.steps)))
        return len(found.steps), written, waits

    one, two, three = (np.array(work(size)) for size in (200, 400, 600))
    np.testing.assert_allclose(three - two, two - one, rtol=0.02, atol=4)


@pytest.mark.parametrize("seed", range(4))
def test_dependences_are_those_of_the_bytes(seed: int) -> None:
    """What a step reads was written by a step it waits for, at first or second hand."""
    model = Model.made(wired(seed), {"x": (4,)}, 8)
    joined = model.objective
    made = batched(
        plan(joined.graph, model.weights.layout, 4, gradients=joined.gradients, stack=2)
    )
    before = dependences(made, made.steps)
    surely: list[set[int]] = []
    for waits in before:
        surely.append(set(waits).union(*(surely[i] for i in waits)))
    elements: dict[int, np.ndarray[Any, Any]] = {
        i: np.arange(buffer.size) for i, buffer in enumerate(made.buffers)
    }

    def places(view: Any) -> set[tuple[int, int]]:
        base = elements[view.buffer][view.offset :]
        strides = [8 * stride for stride in view.strides]
        array = np.lib.stride_tricks.as_strided(base, view.shape, strides)
        return {(view.buffer, i) for i in array.ravel().tolist()}

    writer: dict[tuple[int, int], int] = {}
    for number, step in enumerate(made.steps):
        for view in (*step.inputs, step.out):
            touched = {writer[place] for place in places(view) if place in writer}
            assert touched <= surely[number]
        writer.update((place, number) for place in places(step.out))
