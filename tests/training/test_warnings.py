"""What is wrong with a fit is said; a healthy fit passes without a word."""

import logging

import numpy as np
import pytest

from dtrain import (
    Checkpoint,
    SoloWorld,
    ThreadWorld,
    layers,
    penalties,
    program,
    train,
    weight,
    zoo,
)
from dtrain.diagnose.structure import affine, multiplied
from dtrain.engine.engine import BACKENDS
from tests.training.programs import (
    careless,
    classes,
    line,
    line_data,
    logit,
    net,
    net_data,
)

X = np.linspace(-1, 1, 23)


def warnings(program_, data, **options):
    base = {"epochs": 6, "learning_rate": 0.1, "block": 4}
    return train(program_, data, **base | options).report["warnings"]


def the_warning(program_, data, **options):
    (text,) = warnings(program_, data, **options)
    return text


def test_a_healthy_fit_has_no_warnings(caplog):
    assert warnings(line, line_data()) == []
    assert warnings(net, net_data(47), batch=10, optimizer="adam") == []
    assert warnings(line, line_data(), epochs=1) == []
    assert not caplog.messages


@pytest.mark.full
@pytest.mark.parametrize("name", sorted(zoo.ENTRIES))
def test_the_zoo_has_no_warnings(name):
    entry = zoo.ENTRIES[name]
    assert warnings(entry.program, zoo.DATA[entry.data](), **entry.options) == []


def test_the_lecture_has_no_warnings():
    entry = zoo.ENTRIES["lecture"]
    assert warnings(entry.program, zoo.DATA[entry.data](), **entry.options) == []


def test_rank_0_logs_each_warning_once(caplog):
    with caplog.at_level(logging.WARNING):
        text = the_warning(line, line_data(), learning_rate=2.0, world=ThreadWorld(3))
    assert caplog.messages == [text]


# The loss.


def test_a_loss_that_rose_is_reported():
    text = the_warning(line, line_data(), learning_rate=2.0)
    assert text.startswith("the loss rose, from ")
    assert "use a smaller learning rate" in text


def test_a_loss_that_did_not_fall_is_reported():
    assert "did not fall" in the_warning(line, line_data(), learning_rate=0)
    assert "did not fall" in the_warning(line, line_data(), learning_rate=1e-12)
    assert warnings(line, line_data(), learning_rate=1e-4) == []


def test_a_loss_of_0_is_no_reason_for_a_warning():
    data = {"x": X, "t": 0.5 * X - 0.5}  # the first weights of `line` fit exactly
    assert warnings(line, data, dtype="float64") == []


def test_a_negative_loss_that_falls_has_no_warning():
    @program
    def below(x):
        return np.square(weight("w", (), 0.5) - x) - 10

    assert warnings(below, {"x": X}, loss="mean") == []
    assert "did not fall" in the_warning(below, {"x": X}, loss="mean", learning_rate=0)


# Weights that grow without bound.


LOGISTIC = {"loss": "binary_cross_entropy", "epochs": 40, "learning_rate": 1.0}


@pytest.mark.parametrize("backend", BACKENDS)
def test_separable_classes_are_reported(backend):
    options = LOGISTIC | {"backend": backend, "batch": 7}
    text = the_warning(logit, classes(separable=True), **options)
    assert "separable" in text
    assert "--l2" in text
    assert warnings(logit, classes(separable=False), **options) == []


def test_separable_classes_of_a_softmax_are_reported():
    @program
    def softmax(x):
        return weight("w", (2, 2), "zeros") @ x

    options = LOGISTIC | {"loss": "cross_entropy"}
    assert "separable" in the_warning(softmax, classes(separable=True), **options)
    assert warnings(softmax, classes(separable=False), **options) == []


def test_weights_that_something_holds_do_not_grow_without_bound():
    data = classes(separable=True)
    assert warnings(logit, data, **LOGISTIC, penalty=penalties.Norms(l2=1e-3)) == []

    @program
    def bounded(x):
        return weight("w", 2, "zeros", lower=-5, upper=5) @ x

    assert warnings(bounded, data, **LOGISTIC) == []

    @program
    def deep(x):
        return weight("v") * np.tanh(weight("w", 2) @ x)

    assert warnings(deep, data, **LOGISTIC) == []


@pytest.mark.parametrize(
    ("function", "is_affine"),
    [
        (lambda w, x: w[0] * x + 3 - np.sum(w), True),
        (lambda w, x: (w[:2] @ np.stack([x, x**2])) / np.exp(x), True),
        (lambda w, x: np.where(x > 0, w[0], w[1]) * x, True),
        (lambda w, x: w[0] * w[1] * x, False),
        (lambda w, x: np.maximum(w[0] * x, 0), False),
        (lambda w, x: x / w[0], False),
        (lambda w, x: np.where(w[0] > 0, x, w[1]), False),
        (lambda w, x: layers.softmax(w * x)[0], False),
    ],
)
def test_affine_programs_are_recognised(function, is_affine):
    traced = program(lambda x: function(weight("w", 3), x)).trace()
    assert affine(traced) is is_affine


# Inputs.


def test_an_input_far_from_1_is_named_with_the_cure():
    text = the_warning(line, {"x": 1000 * X, "t": X}, learning_rate=1e-7)
    assert text.startswith("input 'x' reaches 1e+03")
    assert "layers.standardise" in text
    text = the_warning(line, {"x": 1e-4 * X, "t": X})
    assert text.startswith("input 'x' reaches 0.0001")
    for size in (0.02, 0.5, 20, 99):
        assert warnings(line, {"x": size * X, "t": X}, learning_rate=1e-4) == []


def test_the_column_far_from_1_is_named():
    @program
    def plane(x):
        return layers.dense(x, 1, name="out")[0]

    data = {"a": X, "b": 500 * X**2, "c": np.zeros(23), "t": X}
    columns = {"x": ["a", "b", "c"]}
    text = the_warning(plane, data, columns=columns, learning_rate=1e-7)
    assert text.startswith("column 'b' reaches 5e+02: ")
    x = np.stack([data["a"], data["b"]], 1)
    text = the_warning(plane, {"x": x, "t": X}, learning_rate=1e-7)
    assert text.startswith("input 'x' at [1] reaches 5e+02")


def test_an_input_that_the_program_scales_is_not_reported():
    @program
    def scaled(x):
        return weight("a") * (x / 1000)

    @program
    def looked_up(x):
        return np.sum(weight("table", (400, 2))[x])

    assert warnings(scaled, {"x": 1000 * X, "t": X}) == []
    data = {"x": np.arange(23) * 17, "t": X}
    assert warnings(looked_up, data) == []
    assert multiplied(scaled.trace()) == multiplied(looked_up.trace()) == []


# Steps and weights.


def test_skipped_steps_are_reported():
    @program
    def logarithm(x):
        return np.log(x) * weight("w", (), 1.0)

    data = {"x": np.r_[np.full(22, 2.0), -1.0], "t": np.ones(23)}
    text = warnings(logarithm, data, batch=8, on_nonfinite="skip")[0]
    assert text.startswith("6 steps of 18 were skipped, because")


def test_weights_without_gradient_are_reported():
    unused, dead = warnings(careless, line_data())
    assert unused.startswith("the program's loss does not depend on weight unused: ")
    assert dead.startswith("weight dead never received a gradient")


def test_frozen_weights_need_no_gradient():
    assert warnings(careless, line_data(), frozen=["unused", "dead"]) == []


def test_a_weight_that_receives_a_gradient_once_has_no_warning():
    @program
    def product(x):  # at first only b receives a gradient
        return weight("a", (), 0.0) * weight("b", (), 1.0) * x + weight("c", (), 0.0)

    @program
    def stuck(x):
        return weight("a", (), 0.0) * weight("b", (), 0.0) * x + weight("c", (), 0.0)

    assert warnings(product, line_data()) == []
    text = the_warning(stuck, line_data())
    assert text.startswith("weights a, b never received a gradient")


def test_scalars_that_form_one_vector_count_as_one():
    digits = zoo.DATA["digits"]()  # some pixels are always 0
    assert warnings(zoo.mlp_scalar, digits, epochs=2, loss="cross_entropy") == []


# The two laws.


SEEN = {"data": {"x": 1000 * X, "t": X}, "learning_rate": 1.0, "batch": 5}


@pytest.mark.parametrize("ranks", [2, 3, 4, 7])
def test_any_number_of_ranks_finds_the_same(ranks):
    options = SEEN | {"learning_rate": 3e-6, "optimizer": "sgd"}
    alone = warnings(careless, **options, world=SoloWorld())
    assert len(alone) >= 3
    assert warnings(careless, **options, world=ThreadWorld(ranks)) == alone
    options = LOGISTIC | {"data": classes(separable=True)}
    alone = warnings(logit, **options, world=SoloWorld())
    assert warnings(logit, **options, world=ThreadWorld(ranks)) == alone != []


def test_a_resumed_run_finds_what_the_whole_run_finds(tmp_path):
    @program
    def once(x):  # after the first steps, no derivative by k is other than 0
        return weight("a", (), 1.0) * x + layers.relu(weight("k", (), 0.3, upper=0.3))

    data = {"x": X + 0.5, "t": X - 5}
    assert warnings(once, data) == []
    warnings(once, data, epochs=4, checkpoint=tmp_path)
    resumed = train(
        once,
        data,
        epochs=9,
        learning_rate=0.1,
        block=4,
        checkpoint=Checkpoint(tmp_path, resume=True),
    )
    assert resumed.report["resumed_from_step"] == 4
    assert resumed.report["warnings"] == []
    assert resumed.weights["k"] < 0
    dead = careless, line_data()
    whole = warnings(*dead)
    warnings(*dead, epochs=3, checkpoint=tmp_path / "dead")
    again = Checkpoint(tmp_path / "dead", resume=True)
    assert warnings(*dead, checkpoint=again) == whole
