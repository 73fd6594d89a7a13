"""The first weights: some given by name, the others drawn."""

import logging

import numpy as np
import pytest

from dtrain import SoloWorld, ThreadWorld, evaluate, init, objective, train
from dtrain.checkpoint.output import save
from dtrain.errors import MismatchError, UsageError
from dtrain.problem.problem import Problem
from tests.training.programs import line, line_data, net, net_data

NAMES = sorted(init(net, shapes={"x": 4}))


def start(weights, **options):
    base = {"epochs": 1, "learning_rate": 0.0, "dtype": "float64", "weights": weights}
    return train(net, net_data(13), **base | options)


@pytest.mark.parametrize("ranks", [1, 3])
def test_weights_without_given_value_are_drawn(ranks, caplog):
    drawn = init(net, 5, shapes={"x": 4})
    given = {"b": np.arange(4.0), "out.b": [7.0, 8.0]}
    world = SoloWorld() if ranks == 1 else ThreadWorld(ranks)
    with caplog.at_level(logging.INFO):
        run = start(given, seed=5, world=world)
    for name in NAMES:
        np.testing.assert_array_equal(
            run.weights[name], given.get(name, drawn[name]), err_msg=name
        )
    (text,) = [text for text in caplog.messages if "given" in text]
    assert text == (
        "2 weights of 4 have given values: b, out.b; the others are drawn: W, out.W"
    )


def test_a_run_and_a_file_may_have_some_of_the_weights(tmp_path):
    whole = start(None, seed=1)
    some = {"W": whole.weights["W"]}
    save(some, tmp_path / "some.safetensors")
    for given in (some, tmp_path / "some.safetensors"):
        weights = start(given, seed=2).weights
        np.testing.assert_array_equal(weights["W"], whole.weights["W"])
        assert not np.array_equal(weights["out.W"], whole.weights["out.W"])
    assert start(whole, seed=2).digest == whole.digest
    assert objective(net, net_data(13), weights=some, seed=1).start.tolist() == (
        objective(net, net_data(13), seed=1).start.tolist()
    )


def test_all_weights_given_say_nothing(caplog):
    with caplog.at_level(logging.INFO):
        start(start(None))
    assert not [text for text in caplog.messages if "given" in text]


def test_an_unknown_name_is_refused_with_a_similar_one():
    with pytest.raises(UsageError, match=r"'out.Wx' is no weight .*mean 'out.W'\?"):
        start({"b": np.zeros(4), "out.Wx": np.zeros((2, 4))})
    with pytest.raises(UsageError, match=f"no weight has .* {', '.join(NAMES)}"):
        start({})


def test_given_values_must_fit():
    with pytest.raises(UsageError, match=r"weight 'b' has shape \(3,\)"):
        start({"b": np.zeros(3)})
    with pytest.raises(UsageError, match="weight 'b' must hold finite"):
        start({"b": [1, 2, 3, np.nan]})


def test_ranks_with_other_given_weights_are_named(monkeypatch):
    begin = Problem.start

    def other(self, world, seed, _=None):
        return begin(self, world, seed, {"b": np.full(4, world.rank == 1)})

    monkeypatch.setattr(Problem, "start", other)
    with pytest.raises(MismatchError, match="first weight that differs: 'b'"):
        start(None, world=ThreadWorld(3))


def test_evaluate_draws_no_weight():
    with pytest.raises(UsageError, match="'offset' is missing"):
        evaluate(line, {"slope": 1.0}, line_data())
