"""Loss, gradient, predictions and metrics of arrays."""

import inspect

import numpy as np
import pytest

from dtrain import (
    SoloWorld,
    ThreadWorld,
    init,
    layers,
    loss_and_gradient,
    losses,
    predict,
    program,
    weight,
)
from dtrain.errors import DataError, ProgramError, UsageError
from dtrain.problem.evaluate import measure
from dtrain.problem.samples import as_samples
from tests.training.programs import both, distance, line, line_data, net, net_data


def numbers(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def slopes(call, weights, step=1e-5):
    """Central differences of a loss by every entry of every weight."""
    found = {}
    for name, value in weights.items():
        found[name] = np.zeros(np.shape(value))
        for index in np.ndindex(np.shape(value)):
            ends = []
            for sign in (1, -1):
                moved = np.array(value)
                moved[index] += sign * step
                ends.append(call(weights | {name: moved}))
            found[name][index] = (ends[0] - ends[1]) / (2 * step)
    return found


@pytest.mark.parametrize("block", [None, 1, 3, 100])
def test_the_loss_is_the_mean_and_the_gradient_its_derivative(block):
    data = net_data(11)
    inputs, t = {"x": data["x"], "s": data["s"]}, data["t"]
    weights = init(net, seed=2, shapes={"x": (4,)})

    def loss_of(weights):
        return loss_and_gradient(net, weights, inputs, t, block=block)[0]

    loss, gradient = loss_and_gradient(net, weights, inputs, t, block=block)
    assert isinstance(loss, float)
    output = predict(net, weights, inputs)
    assert loss == pytest.approx(((t - output) ** 2).sum(axis=1).mean(), rel=1e-12)
    assert {name: g.shape for name, g in gradient.items()} == {
        name: w.shape for name, w in weights.items()
    }
    for name, slope in slopes(loss_of, weights).items():
        np.testing.assert_allclose(gradient[name], slope, rtol=1e-7, atol=1e-8)
        assert gradient[name].dtype == np.float64


def test_loss_mean_is_the_mean_of_the_outputs():
    x, centre = numbers((7, 3)), np.array([0.1, 0.2, 0.3])
    loss, gradient = loss_and_gradient(distance, {"centre": centre}, [x], loss="mean")
    assert loss == pytest.approx(np.square(x - centre).sum(axis=1).mean())
    np.testing.assert_allclose(gradient["centre"], 2 * (centre - x).mean(axis=0))


def test_float32_is_computed_in_float32():
    weights = init(net, shapes={"x": (4,)})
    data = net_data(9)
    loss, gradient = loss_and_gradient(
        net, weights, [data["x"], data["s"]], data["t"], dtype="float32"
    )
    exact, _ = loss_and_gradient(net, weights, [data["x"], data["s"]], data["t"])
    assert {g.dtype.name for g in gradient.values()} == {"float32"}
    assert loss != exact
    assert loss == pytest.approx(exact, rel=1e-5)


def test_a_weight_that_the_output_does_not_depend_on_has_derivative_0():
    @program
    def lazy(x):
        return line(x) + np.sign(np.sum(weight("idle", 3)))

    weights = init(lazy)
    _, gradient = loss_and_gradient(lazy, weights, [numbers(5)], numbers(5))
    assert (gradient["idle"] == 0).all()
    assert gradient["idle"].shape == (3,)


def test_keywords_and_defaults():
    parameters = inspect.signature(loss_and_gradient).parameters
    defaults = {
        name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY
    }
    assert defaults == {
        "target": None,
        "columns": None,
        "separator": None,
        "missing": "refuse",
        "loss": "square",
        "sample_weight": None,
        "penalty": None,
        "dtype": "float64",
        "block": None,
        "execution": "sequential",
        "backend": "numpy",
    }


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("loss", "nope"),
        ("dtype", "float16"),
        ("block", 0),
        ("block", -1),
        ("execution", "nope"),
        ("backend", "nope"),
    ],
)
def test_options_that_mean_nothing(option, value):
    weights = {"slope": 1.0, "offset": 0.0}
    with pytest.raises(UsageError) as caught:
        loss_and_gradient(line, weights, [[1.0]], [1.0], **{option: value})
    assert option in str(caught.value)
    assert str(value) in str(caught.value)


def test_predictions_are_rows_in_the_order_of_the_samples():
    weights = {"slope": 2.0, "offset": 1.0}
    x = numbers(1000)
    np.testing.assert_allclose(predict(line, weights, {"x": x}), 2 * x + 1)
    for inputs in ([x], x, (x,)):
        assert predict(line, weights, inputs).shape == (1000,)
    assert predict(line, weights, x).dtype == np.float64
    single = {name: np.float32(w) for name, w in weights.items()}
    assert predict(line, single, x).dtype == np.float32


def test_several_outputs_come_by_name():
    x, W = numbers((6, 3)), numbers((2, 3), seed=1)
    found = predict(both, {"W": W}, [x])
    assert set(found) == {"high", "all"}
    np.testing.assert_allclose(found["high"], (x @ W.T).max(axis=1))
    np.testing.assert_allclose(found["all"], np.tanh(x @ W.T))


def test_an_output_of_weights_alone_is_there_for_every_sample():
    @program
    def flat(x):  # noqa: ARG001
        level = weight("level", 2)
        return {"twice": level * 2, "sure": level > 0}

    found = predict(flat, {"level": [1.0, -1.0]}, [np.ones(3)])
    np.testing.assert_array_equal(found["twice"], [[2, -2]] * 3)
    np.testing.assert_array_equal(found["sure"], [[1, 0]] * 3)


X = np.ones(3)
MASKED = np.ma.array([1.0, -999.0, 1.0], mask=[False, True, False])
BAD_INPUTS = {
    "no samples": ({"x": X[:0]}, X[:0], "no samples"),
    "other lengths": ({"x": X}, X[:2], "different numbers of samples"),
    "another name": ({"X": X}, X, r"no column 'x' for input 'x'.*There are: X"),
    "no columns": ({}, X, "no columns"),
    "too many": ([X, X], X, "takes 1 inputs"),
    "a number": ({"x": 1.0}, X, "column 'x' is a single number"),
    "texts": (
        {"x": np.array(["a"] * 3)},
        X,
        "row 1, column 'x' is 'a', which is not a number",
    ),
    "text targets": ({"x": X}, ["a"] * 3, "targets must be an array"),
    "wide targets": ({"x": X}, np.ones((3, 2)), r"shape \(2,\)"),
    "masked": ({"x": MASKED}, X, "column 'x' has masked elements: fill them"),
    "masked, alone": (MASKED, X, "^input 'x' has masked elements"),
    "masked targets": ({"x": X}, MASKED, "^targets has masked elements"),
    "no targets": ({"x": X}, None, "the target is missing"),
}


@pytest.mark.parametrize("kind", BAD_INPUTS)
def test_arrays_that_do_not_fit(kind):
    inputs, targets, message = BAD_INPUTS[kind]
    with pytest.raises(DataError, match=message):
        loss_and_gradient(line, {"slope": 1.0, "offset": 0.0}, inputs, targets)


def test_masked_inputs_are_not_predicted_from():
    for inputs in ({"x": MASKED}, [MASKED], MASKED):
        with pytest.raises(DataError, match="'x' has masked elements"):
            predict(line, {"slope": 1.0, "offset": 0.0}, inputs)


def test_a_program_without_inputs_has_no_samples_to_predict():
    @program
    def nothing():
        return weight("W")

    with pytest.raises(DataError, match="no inputs"):
        predict(nothing, {"W": 1.0}, {})


def test_weights_that_do_not_fit():
    for weights in ({"slope": 1.0}, {"slope": [1.0, 2.0], "offset": 0.0}):
        with pytest.raises(UsageError, match=r"weight '(offset|slope)'"):
            predict(line, weights, X)


@program
def classes(x):
    """Three scores of a sample."""
    return layers.dense(x, 3, name="out")


@pytest.mark.parametrize("samples", [1, 5, 101])
def test_loss_and_accuracy_are_exact_on_any_number_of_ranks(samples):
    x = numbers((samples, 4))
    t = np.eye(3)[np.arange(samples) % 3]
    weights = init(classes, shapes={"x": (4,)})
    output = predict(classes, weights, [x])
    hits = (output.argmax(axis=1) == t.argmax(axis=1)).mean()
    loss = ((t - output) ** 2).sum(axis=1).mean()
    bound = as_samples(classes, [x], t)
    square = losses.named("square")
    found, *others = (
        ThreadWorld(ranks).run(
            lambda world: measure(world, classes, bound, weights, square)
        )
        for ranks in (1, 2, 3, 7)
    )
    assert all(other == found for other in others)
    assert (found["samples"], found["accuracy"]) == (samples, hits)
    assert found["loss"] == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize(
    ("loss", "t"),
    [
        ("cross_entropy", np.zeros(4, int)),
        ("square", np.eye(3)[[0, 0, 0, 0]]),
        ("binary_cross_entropy", np.zeros((4, 3))),
    ],
)
def test_outputs_that_are_nan_are_never_right(loss, t):
    @program
    def rooted(x):
        return np.sqrt(x) * weight("w") - 2

    x = np.array([[1.0, 0, 0], [-1, -1, -1], [1, -1, 0], [1, 0, -1]])
    found = measure(
        SoloWorld(), rooted, as_samples(rooted, [x], t), {"w": 1.0}, losses.named(loss)
    )
    assert found["accuracy"] == (7 / 12 if loss.startswith("binary") else 1 / 4)


def test_targets_that_are_not_one_hot_have_no_accuracy():
    x = numbers((5, 4))
    weights = init(classes, shapes={"x": (4,)})
    square = losses.named("square")
    for t in (numbers((5, 3)), np.zeros((5, 3)), np.ones((5, 3))):
        found = measure(
            SoloWorld(), classes, as_samples(classes, [x], t), weights, square
        )
        assert "accuracy" not in found


def test_one_hot_targets_of_another_width_are_refused():
    data = line_data(6)
    square, weights = losses.named("square"), {"slope": 1.0, "offset": 0.0}
    bound = as_samples(line, [data["x"]], np.eye(6))
    with pytest.raises(DataError, match=r"target has shape \(6,\)"):
        measure(SoloWorld(), line, bound, weights, square)


def test_loss_mean_has_no_accuracy_and_needs_a_number():
    x = numbers((5, 3))
    mean = losses.named("mean")
    weights = {"centre": np.zeros(3)}
    found = measure(
        SoloWorld(), distance, as_samples(distance, [x], None), weights, mean
    )
    assert "accuracy" not in found
    assert found["loss"] == pytest.approx(np.square(x).sum(axis=1).mean())
    with pytest.raises(ProgramError, match="high, all"):
        loss_and_gradient(both, {"W": numbers((2, 3))}, [x], loss="mean")
