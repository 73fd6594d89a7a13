"""What is refused before the first step, and what is said of it."""

from __future__ import annotations

import re
import threading

import numpy as np
import pytest

from dtrain import ThreadWorld, init, program, train, weight
from dtrain.errors import MismatchError, NotFiniteError, ProgramError, UsageError
from tests.training.programs import line, line_data

USUAL = {"epochs": 2, "learning_rate": 0.1}


def test_a_program_that_is_another_one_each_time_is_refused():
    draws = np.random.default_rng(0)

    @program
    def noisy(x):
        return weight("w") * x + draws.random()

    with pytest.raises(ProgramError, match="random numbers"):
        train(noisy, line_data(), **USUAL)


def test_a_program_without_weights_is_refused():
    @program
    def fixed(x):
        return 2 * x

    with pytest.raises(ProgramError, match="no weights to train"):
        train(fixed, line_data(), **USUAL)


@pytest.mark.parametrize("callbacks", [print, [3], "print"])
def test_callbacks_that_cannot_be_called_are_refused(callbacks):
    with pytest.raises(UsageError, match="list of callables"):
        train(line, line_data(), **USUAL, callbacks=callbacks)


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        (3.0, "arrays by name, a Run, or the path"),
        ({"slope": "steep", "offset": 0.0}, "'slope' must hold finite real"),
        ({"slope": 1j, "offset": 0.0}, "'slope' must hold finite real"),
        ({"slope": 1.0, "offset": np.nan}, "'offset' must hold finite real"),
        ({"slope": 1e300, "offset": 0.0}, "'slope' is too large for float32"),
    ],
)
def test_first_weights_that_mean_nothing_are_refused(weights, text):
    with pytest.raises(UsageError, match=text):
        train(line, line_data(), **USUAL, weights=weights)


def test_what_is_not_finite_before_any_step_is_blamed_on_the_program():
    @program
    def logarithm(x):
        return weight("w") * np.log(x)

    with pytest.raises(NotFiniteError, match=r"before any step.*log.*np\.where"):
        train(logarithm, {"x": np.array([-1.0, 1.0]), "t": np.ones(2)}, **USUAL)
    with pytest.raises(NotFiniteError, match="smaller learning rate"):
        train(line, line_data(), epochs=200, learning_rate=1e3)


def test_bad_options_are_refused_by_all_ranks_together():
    with pytest.raises(UsageError, match="epochs") as caught:
        train(line, line_data(), epochs=-1, learning_rate=0.1, world=ThreadWorld(3))
    assert caught.value.agreed


@pytest.mark.parametrize("dtype", ["int32", "foo", "float16"])
def test_init_takes_the_dtypes_of_training(dtype):
    with pytest.raises(UsageError, match="float32, float64"):
        init(line, dtype=dtype)


def test_a_run_prints_in_a_line():
    run = train(line, line_data(), epochs=50, learning_rate=0.1)
    assert len(repr(run)) < 200
    assert run.digest in repr(run)


def here():
    """The number of the rank, which is a thread."""
    name = threading.current_thread().name
    return int(name.removeprefix("rank ")) if name.startswith("rank ") else 0


def by_function(x):
    a = weight("w") * x
    return np.sin(a) if here() == 2 else np.cos(a)


def by_wiring(x):
    a, b = weight("w"), weight("v")
    return a * x + a if here() == 2 else a * x + b


def by_constant(x):
    return weight("w") * x * (3.5 if here() == 2 else 2)


def by_array(x):
    return np.sum(weight("w") * x * (np.arange(3) + (here() == 2)))


def by_name(x):
    return weight("w" if here() == 2 else "v") * x


def by_length(x):
    a = weight("w") * x
    return np.tanh(a) if here() == 2 else a


def by_shape(x):
    return np.sum(weight("w", 3 if here() == 2 else 2)) * x


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (by_function, [r"sin\(2\) of", r"cos\(2\) of"]),
        (by_wiring, [r"3 \+ w of", r"3 \+ v of"]),
        (by_constant, ["constant 3.5", r"constant 2\.0"]),
        (by_array, [r"constant of shape \(3,\) at \S+py:\d+ with values \["]),
        (by_name, ["weight 'w'", "weight 'v'"]),
        (by_length, [r"tanh\(\w+\) of", "none"]),
        (by_shape, [r"'w' of shape \(3,\)", r"'w' of shape \(2,\)"]),
    ],
)
@pytest.mark.parametrize("ranks", [3, 4])
def test_the_first_node_of_another_program_is_named(function, says, ranks):
    with pytest.raises(MismatchError, match="same program: rank 2 on") as caught:
        train(program(function), line_data(), **USUAL, world=ThreadWorld(ranks))
    error = caught.value
    assert (error.agreed, error.rank, error.exit_code) == (True, 2, 2)
    for text in says:
        assert re.search(text, str(error)), str(error)
    assert "test_setup.py:" in str(error)
    assert "on rank 2, " in str(error)
