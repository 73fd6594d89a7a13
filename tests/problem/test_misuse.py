"""Mistakes that newcomers make get one message that says what to do instead."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain
from dtrain import (
    evaluate,
    loss_and_gradient,
    objective,
    predict,
    program,
    train,
    weight,
)
from dtrain.errors import DataError, ProgramError, UsageError
from tests.training.programs import line, line_data

DATA = line_data(20)
X = DATA["x"]
WEIGHTS = {"slope": 1.0, "offset": 0.0}
USUAL = {"epochs": 2, "learning_rate": 0.1}
MESSAGES = {
    "arguments in another order": (
        lambda: predict(line, DATA, WEIGHTS),
        UsageError,
        "the order of the arguments is program, weights, inputs",
    ),
    "another library's loss": (
        lambda: train(line, DATA, **USUAL, loss="mse"),
        UsageError,
        "called 'square' here",
    ),
    "another library's option": (
        lambda: train(line, DATA, epochs=2, lr=0.1),
        UsageError,
        "did you mean 'learning_rate'",
    ),
    "an option of Checkpoint": (
        lambda: train(line, DATA, **USUAL, resume=True),
        UsageError,
        "'resume'; did you mean 'checkpoint'",
    ),
    "another library's optimizer": (
        lambda: train(line, DATA, **USUAL, optimizer="Adam"),
        UsageError,
        "did you mean 'adam'",
    ),
    "a list of numbers for one input": (
        lambda: predict(line, WEIGHTS, [1.0, 2.0, 3.0]),
        DataError,
        r"give \[values\], or \{'x': values\}",
    ),
    "samples of different shapes": (
        lambda: predict(line, WEIGHTS, [[[[1.0, 2.0], [1.0]]]]),
        DataError,
        "all samples must have one shape",
    ),
    "an object that is no mapping": (
        lambda: predict(line, WEIGHTS, iter(X)),
        DataError,
        "give named columns",
    ),
    "a path that is not there": (
        lambda: predict(line, WEIGHTS, "nowhere.csv"),
        DataError,
        "nowhere.csv: there is no such file",
    ),
    "a plain function": (
        lambda: evaluate(lambda x: x, WEIGHTS, DATA),
        ProgramError,
        "mark the function with @program",
    ),
    "weights of another kind": (
        lambda: predict(line, [1.0, 0.0], DATA),
        UsageError,
        "give arrays by name, a Run, or the path",
    ),
}


@pytest.mark.parametrize("what", MESSAGES)
def test_a_mistake_is_answered_with_what_to_do(what):
    call, kind, message = MESSAGES[what]
    with pytest.raises(kind, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("call", [loss_and_gradient, predict, evaluate])
def test_a_call_on_numbers_inside_a_program_blames_its_line(call):
    inner = line

    @program
    def outer(x):
        return call(inner, WEIGHTS, {"x": x}) * weight("w")

    with pytest.raises(ProgramError, match=rf"test_misuse.py:\d+: {call.__name__}"):
        train(outer, DATA, **USUAL)


def test_what_others_accept_is_accepted():
    run = train(line, DATA, **USUAL, dtype=np.float64, batch="full")
    assert run.weights["slope"].dtype == np.float64
    np.testing.assert_array_equal(predict(line, run, DATA), predict(line, run, X))
    assert objective(line, DATA, weights=run).start.tolist() == [
        float(run.weights["offset"]),
        float(run.weights["slope"]),
    ]


def test_a_printed_symbol_shows_what_it_is(capsys):
    @program
    def printing(x):
        y = weight("w") * x
        print(y, x, 2 * y)
        return y

    printing.trace(x=3)
    assert capsys.readouterr().out.strip() == (
        "<Symbol 2 = multiply(w, x), (3,)> <Symbol x, input, (3,)> "
        "<Symbol 4 = multiply(2, 2), (3,)>"
    )


def test_representations_are_one_line():
    graph = dtrain.zoo.mlp.trace(x=64)
    assert "\n" not in repr(graph)
    assert len(repr(graph)) < 120
    assert "\n" not in repr(dtrain.zoo.mlp)


@pytest.mark.parametrize(
    "module",
    [
        *("errors", "initializers", "layers", "losses"),
        *("optimizers", "penalties", "schedules", "zoo"),
    ],
)
def test_tab_completion_shows_only_what_is_ours(module):
    names = dir(getattr(dtrain, module))
    assert names == sorted(getattr(dtrain, module).__all__)
    for name in names:
        value = getattr(getattr(dtrain, module), name)
        home = getattr(value, "__module__", "dtrain")
        assert home.startswith(("dtrain", "collections", "typing")), name
