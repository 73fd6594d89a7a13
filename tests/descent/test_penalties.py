"""Penalties: closed forms, added once, before clipping, equal on any rank count."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from dtrain import (
    ThreadWorld,
    check,
    init,
    loss_and_gradient,
    optimizers,
    penalties,
    train,
)
from dtrain.errors import MismatchError, ProgramError, UsageError
from dtrain.training.settings import Settings
from dtrain.training.trainer import Trainer
from tests.training.programs import line, line_data, net, net_data

DATA = net_data(22)
INPUTS, T = [DATA["x"], DATA["s"]], DATA["t"]
WEIGHTS = init(net, seed=3, shapes={"x": (4,)})


def total(function):
    return sum(float(np.sum(function(w))) for w in WEIGHTS.values())


@pytest.mark.parametrize("block", [None, 1, 5])
@pytest.mark.parametrize(
    ("penalty", "value", "slope"),
    [
        (penalties.Norms(l2=0.3), 0.3 * total(np.square), lambda w: 0.6 * w),
        (penalties.Norms(l1=0.2), 0.2 * total(np.abs), lambda w: 0.2 * np.sign(w)),
        (
            penalties.Norms(l1=0.2, l2=0.3),
            0.2 * total(np.abs) + 0.3 * total(np.square),
            lambda w: 0.2 * np.sign(w) + 0.6 * w,
        ),
        (
            lambda weights: sum(np.sum(np.exp(w)) for w in weights.values()),
            total(np.exp),
            np.exp,
        ),
        (penalties.Norms(), 0.0, np.zeros_like),
        (lambda _: 2.5, 2.5, np.zeros_like),
    ],
)
def test_a_penalty_is_added_once(penalty, value, slope, block):
    bare, without = loss_and_gradient(net, WEIGHTS, INPUTS, T, block=block)
    loss, gradient = loss_and_gradient(
        net, WEIGHTS, INPUTS, T, block=block, penalty=penalty
    )
    assert loss == pytest.approx(bare + value, rel=1e-14)
    for name, w in WEIGHTS.items():
        np.testing.assert_allclose(gradient[name], without[name] + slope(w), rtol=1e-13)


def test_norms_of_some_weights_only():
    (name, *others) = WEIGHTS
    _, without = loss_and_gradient(net, WEIGHTS, INPUTS, T)
    _, gradient = loss_and_gradient(
        net, WEIGHTS, INPUTS, T, penalty=penalties.Norms(l2=1, of=(name,))
    )
    np.testing.assert_allclose(gradient[name], without[name] + 2 * WEIGHTS[name])
    for other in others:
        np.testing.assert_array_equal(gradient[other], without[other])


def test_plain_descent_on_an_l2_penalty_is_weight_decay():
    rules = {"epochs": 4, "learning_rate": 0.1, "batch": 8, "dtype": "float64"}
    penalised = train(net, DATA, penalty=penalties.Norms(l2=0.05), **rules)
    decayed = train(net, DATA, optimizer=optimizers.sgd(weight_decay=0.1), **rules)
    for name, w in penalised.weights.items():
        np.testing.assert_allclose(w, decayed.weights[name], rtol=1e-12)
    assert (
        penalised.report["loss"] > decayed.report["loss"]
    )  # the loss includes the penalty


def test_the_reported_loss_and_clipping_include_the_penalty():
    settings = {"epochs": 1, "learning_rate": 1.0, "dtype": "float64"}
    weights = {"slope": 3.0, "offset": 4.0}
    run = train(
        line,
        {"x": np.zeros(6), "t": np.full(6, 4.0)},
        weights=weights,
        penalty=penalties.Norms(l2=1.0),
        optimizer=optimizers.sgd(clip_norm=1.0),
        **settings,
    )
    assert run.report["loss"] == run.history[0].loss == 25.0
    moved = [weights[name] - run.weights[name] for name in ("slope", "offset")]
    np.testing.assert_allclose(moved, [0.6, 0.8])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_ranks_and_blocks_of_a_stack_gives_the_same_bits(dtype):
    runs = [
        train(
            net,
            DATA,
            penalty=lambda w: 0.1 * np.sum(np.abs(w["out.W"])),
            epochs=3,
            batch=9,
            block=2,
            learning_rate=0.05,
            dtype=dtype,
            world=ThreadWorld(ranks),
        )
        for ranks in range(1, 6)
    ]
    assert len({run.digest for run in runs}) == 1
    assert len({tuple(run.report["loss_history"]) for run in runs}) == 1


def test_check_includes_the_penalty():
    for penalty in (penalties.Norms(l2=0.4), lambda w: np.sum(np.exp(w["out.b"]))):
        found = check(net, INPUTS, T, penalty=penalty)
        assert all(each.passed for each in found.weights)
        bare = check(net, INPUTS, T)
        slopes = [
            {c.weight: c.gradient for c in each.weights} for each in (found, bare)
        ]
        assert slopes[0] != slopes[1]


def test_check_reports_the_kinks_of_a_penalty():
    data = line_data()
    for slope, passed in ((0.0, False), (1e-5, True)):
        found = check(
            line,
            [data["x"]],
            data["t"],
            weights={"slope": slope, "offset": 1.0},
            penalty=lambda w: np.maximum(w["slope"], 0),
        )
        by_name = {c.weight: c for c in found.weights}
        assert found.passed
        assert by_name["slope"].passed == passed
        assert ("test_penalties.py" in str(by_name["slope"].kinks)) != passed


def test_ranks_with_different_penalties_are_refused():
    def body(world):
        factor = 1.0 + (world.rank == 2)
        settings = Settings(
            epochs=1,
            learning_rate=0.1,
            penalty=lambda w: factor * np.square(w["slope"]),
        )
        return Trainer(world, line, line_data(), settings)

    with pytest.raises(MismatchError, match="penalty"):
        ThreadWorld(3).run(body)


HERE = r"^(rank 0: )?\S*test_penalties\.py:\d+: "
ONE = "the penalty must be one number; it returns a "


class Returns:
    """A penalty that is an object."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __call__(self, _: object) -> object:
        """Return the value."""
        return self.value


@pytest.mark.parametrize(
    ("penalty", "error", "pattern"),
    [
        (3.0, UsageError, "penalty is 3.0; it must be a function of the weights"),
        (lambda w: w["nope"], ProgramError, "'nope'; there are .*slope"),
        (lambda w: np.stack([*w.values()]), ProgramError, r"real of shape \(2,\)"),
        (lambda w: w["slope"] > 0, ProgramError, "bool of shape"),
        (lambda w: np.i0(w["slope"]), ProgramError, "not in the table"),
        (lambda _: {}["mine"], ProgramError, "KeyError.*\n.*test_penalties.py"),
        (lambda w: w["slope"] > 0, ProgramError, HERE + "the penalty must be one nu"),
        (lambda _: None, ProgramError, HERE + ONE + "NoneType: did you forget `re"),
        (lambda w: w, ProgramError, HERE + ONE + "dict: return one value"),
        (lambda w: w.get("q"), ProgramError, HERE + ONE + "NoneType"),
        (lambda w: [w["slope"]], ProgramError, HERE + ONE + "list"),
        (lambda _: 10**400, ProgramError, HERE + "an int is too large"),
        (partial(lambda w, n: w.get(n), n="q"), ProgramError, HERE + ONE + "NoneType"),
        (Returns(None), ProgramError, HERE + ONE + "NoneType"),
        (dict.fromkeys, ProgramError, "^(rank 0: )?" + ONE + "dict"),
    ],
)
def test_an_invalid_penalty_is_refused(penalty, error, pattern):
    with pytest.raises(error, match=pattern):
        train(line, line_data(), penalty=penalty, epochs=1, learning_rate=0.1)


@pytest.mark.parametrize("strength", [-1.0, np.inf, np.nan])
@pytest.mark.parametrize("name", ["l1", "l2"])
def test_an_invalid_strength_is_refused(name, strength):
    with pytest.raises(UsageError, match=name):
        penalties.Norms(**{name: strength})
