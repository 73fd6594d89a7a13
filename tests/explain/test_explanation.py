"""Explanations: adjoints by the transfer functions, and the notation of these."""

import numpy as np
import pytest

from dtrain import base_function, init, layers, loss_and_gradient, program, weight, zoo
from dtrain.drawing.notation import applied, name, text
from dtrain.errors import ProgramError
from dtrain.explain.explanation import Explanation
from dtrain.explain.text import lines, written
from dtrain.gradient.paths import evaluate


def explain(model, point, **options):
    shapes = {key: np.shape(value) for key, value in point.items()}
    weights = init(model, shapes=shapes)
    return Explanation(model, model.trace(**shapes), point, weights, **options)


def backward_texts(explanation):
    """Return the text of v_X, by X."""
    return {
        name(explanation.graph, number): text(
            explanation.adjoint_parts(number), lambda r: written(explanation, r)
        )
        for number in explanation.adjoints
    }


@program
def mixed(x, y):
    hidden = np.tanh(layers.dense(x, 3, name="h"))
    score = layers.softmax(hidden) @ weight("s", 3) + np.max(x) * y
    return np.sum(np.where(hidden > 0, hidden, 0.1 * hidden)) * score + np.prod(x[1:])


def test_adjoints_are_the_gradient_without_the_engine():
    point = {"x": np.array([0.5, -1.0, 2.0, 0.25]), "y": 0.7}
    explanation = explain(mixed, point)
    weights = {key: explanation.given[key] for key in ("h.W", "h.b", "s")}
    sample = {key: np.array([value]) for key, value in point.items()}
    output, gradient = loss_and_gradient(mixed, weights, sample, loss="mean")
    assert explanation.values[explanation.end] == output
    plain = evaluate(explanation.graph, explanation.given)
    np.testing.assert_allclose(plain[explanation.end], output, rtol=1e-13)
    for key, value in gradient.items():
        np.testing.assert_array_equal(explanation.gradient(key), value)
        arriving = explanation.arriving(explanation.graph.weights[key])
        total = sum(explanation.passed[edge] for edge in arriving)
        np.testing.assert_allclose(total, value, rtol=1e-12)
        paths = explanation.paths[key]
        summed = sum(explanation.product(path) for path in paths)
        np.testing.assert_allclose(summed, value, rtol=1e-10)


def test_an_array_output_is_summed_before_differentiation():
    @program
    def summed(x):
        return np.sum(zoo.mlp.function(x))

    x = np.linspace(0, 1, 64)
    explanation = explain(zoo.mlp, {"x": x})
    weights = init(zoo.mlp, shapes={"x": 64})
    _, gradient = loss_and_gradient(summed, weights, [x[None]], loss="mean")
    for key, value in gradient.items():
        np.testing.assert_allclose(explanation.gradient(key), value, rtol=1e-12)


def test_transfer_functions_in_the_lecture_s_notation():
    explanation = explain(zoo.mlp, {"x": np.ones(64)})
    assert backward_texts(explanation) == {
        "mlp": "1",
        "x₈": "v_mlp",
        "output.b": "v_mlp",
        "output.W": "v_x₈ ⊗ x₅",
        "x₅": "output.Wᵀ v_x₈",
        "x₄": "v_x₅ · (1 − x₅²)",
        "x₃": "v_x₄",
        "hidden.b": "v_x₄",
        "hidden.W": "v_x₃ ⊗ x",
        "x": "hidden.Wᵀ v_x₃",
    }


@pytest.mark.parametrize(
    ("function", "value", "adjoint"),
    [
        (lambda w, p: w - (p - w), "w − x₂", "−v_x₂ + v_f"),
        (lambda w, p: (w + p) * w, "x₂ · w", "v_x₂ + v_f · x₂"),
        (lambda w, p: w / (p * p), "w / x₂", "v_f / x₂"),
        (lambda w, p: p / w, "p / w", "−v_f · f / w"),
        (lambda w, p: np.exp(-w) * p, "x₃ · p", "−v_x₂"),
        (lambda w, p: np.sqrt(w * p), "√x₂", "v_x₂ · p"),
        (lambda w, p: w**4 + p, "x₃ + p", "v_x₃ · 4 · w³"),
        (lambda w, p: abs(w * 1.0) - p, "x₂ − p", "v_x₂ · sign(w)"),
        (lambda w, p: np.where(w > p, w, p), "where(x₂, w, p)", "where(x₂, v_f, 0)"),
        (lambda w, p: np.square(w) - 3 * p, "x₂ − x₄", "v_x₂ · 2 · w"),
    ],
)
def test_expressions_have_the_parentheses_they_need(function, value, adjoint):
    @program
    def f(p):
        w = weight("w")
        return function(w, p)

    explanation = explain(f, {"p": 0.7})
    number = explanation.graph.weights["w"]
    shown = text(
        applied(explanation.graph, explanation.end),
        lambda r: name(explanation.graph, r.node),
    )
    assert (shown, backward_texts(explanation)[name(explanation.graph, number)]) == (
        value,
        adjoint,
    )


@pytest.mark.parametrize(
    "key",
    [
        # Its many scalars take several seconds.
        pytest.param(key, marks=pytest.mark.full if key == "mlp_scalar" else [])
        for key in sorted(zoo.ENTRIES)
    ],
)
def test_every_program_of_the_zoo_is_explained(key):
    entry = zoo.ENTRIES[key]
    columns = zoo.DATA[entry.data]().columns
    point = {each: np.array(columns[each][0]) for each in entry.program.inputs}
    output = list(
        entry.program.trace(**{k: np.shape(v) for k, v in point.items()}).outputs
    )
    explanation = explain(entry.program, point, output=output[0])
    said = "\n".join(lines(explanation))
    assert all(f"  {each}: " in said for each in explanation.graph.weights)


def test_one_of_several_outputs_is_explained():
    @program
    def two(p):
        return {"a": weight("w") * p, "b": np.exp(p) * weight("w")}

    with pytest.raises(ProgramError, match="the outputs a, b: choose one"):
        explain(two, {"p": 1.0})
    assert explain(two, {"p": 2.0}, output="a").gradient("w") == 2.0


def test_a_transfer_function_that_does_not_fit_is_refused():
    @base_function(vjp=lambda v, _y, _x: (v, v))
    def odd(x):
        return np.sin(x)

    @program
    def f(x):
        return odd(weight("w") * x)

    with pytest.raises(ProgramError, match="vjp of odd returns 2 adjoints"):
        explain(f, {"x": np.ones(3)})


def test_a_weight_without_effect_has_derivative_zero():
    @program
    def two(p):
        return {"a": weight("w") * p, "b": weight("u") * p}

    explanation = explain(two, {"p": 1.0}, output="a")
    assert explanation.gradient("u") == 0
    assert "  u: 0 paths" in "\n".join(lines(explanation))


def test_large_jacobians_are_not_multiplied():
    @program
    def wide(x):
        hidden = np.tanh(weight("W", (64, 64)) @ x) * weight("v", 64)
        return np.sum(hidden) + weight("b")

    explanation = explain(wide, {"x": np.ones((64, 64))})
    assert "Jacobians" in explanation.paths["W"]
    assert [len(path) for path in explanation.paths["b"]] == [1]
    assert explanation.product(explanation.paths["b"][0]) == 1.0


def test_a_transfer_function_that_is_too_long_is_abbreviated():
    def steps(v, _y, x):
        for _ in range(60):  # written out, 2⁶⁰ factors
            x = np.sin(x) + np.cos(x)
        return (v * x,)

    @base_function(vjp=steps)
    def odd(x):
        return np.sin(x)

    @program
    def f(p):
        return odd(weight("w") * p)

    assert backward_texts(explain(f, {"p": 0.7}))["x₂"] == "Jᵀ v_f"
