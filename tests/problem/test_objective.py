"""objective: the mean loss as a function of one vector, and evaluate over ranks."""

from __future__ import annotations

import numpy as np
import pytest

from dtrain import (
    ThreadWorld,
    evaluate,
    init,
    loss_and_gradient,
    objective,
    penalties,
    train,
)
from dtrain.errors import DataError, MismatchError, UsageError
from tests.training.programs import line, line_data, net, net_data

DATA = net_data(101)
SHAPES = {"x": (4,), "s": ()}
INPUTS = {name: DATA[name] for name in SHAPES}


def test_value_and_gradient_are_those_of_loss_and_gradient():
    penalty = penalties.Norms(l2=0.01)
    f = objective(net, DATA, penalty=penalty, seed=3)
    weights = f.unflatten(f.start)
    assert {name: w.shape for name, w in weights.items()} == {
        name: w.shape for name, w in init(net, 3, shapes=SHAPES).items()
    }
    value, gradient = f.value_and_gradient(f.start)
    expected, derivatives = loss_and_gradient(
        net, weights, INPUTS, DATA["t"], penalty=penalty
    )
    assert value == f.value(f.start) == expected
    np.testing.assert_array_equal(gradient, f.flatten(derivatives))
    np.testing.assert_array_equal(f.flatten(weights), f.start)


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_every_rank_gets_the_same_bits(ranks):
    alone = objective(net, DATA, seed=3)
    vector = alone.start * 1.5
    value, gradient = alone.value_and_gradient(vector)

    def work(world):
        assert world.size == ranks
        f = objective(net, DATA, seed=3, world=world)
        found, slope = f.value_and_gradient(vector)
        notes = world.allgather(slope.tobytes())
        return found, slope, len(set(notes))

    found, slope, different = ThreadWorld(ranks).run(work)
    assert (found, different) == (value, 1)
    np.testing.assert_array_equal(slope, gradient)


def test_scipy_minimises_it():
    optimize = pytest.importorskip("scipy.optimize")
    data = line_data(50) | {"t": 3 * line_data(50)["x"] + 1}
    f = objective(line, data)
    found = optimize.minimize(
        f.value_and_gradient, f.start, jac=True, options={"gtol": 1e-9}
    )
    weights = f.unflatten(found.x)
    assert float(weights["slope"]) == pytest.approx(3, abs=1e-6)
    assert float(weights["offset"]) == pytest.approx(1, abs=1e-6)


def test_vectors_that_differ_between_ranks_are_refused():
    def work(world):
        f = objective(line, line_data(20), world=world)
        return f.value(f.start + world.rank)

    with pytest.raises(MismatchError, match="vector of weights"):
        ThreadWorld(2).run(work)


def test_a_vector_of_another_length_is_refused():
    f = objective(line, line_data(20))
    with pytest.raises(UsageError, match=r"shape \(3,\); the weights are \(2,\)"):
        f.value(np.zeros(3))


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_evaluate_has_the_same_bits_on_any_ranks(ranks):
    run = train(net, DATA, epochs=2, learning_rate=0.1, batch=20)
    found = evaluate(net, run, DATA, world=ThreadWorld(ranks))
    assert list(found) == ["samples", "loss", "rmse", "r2"]
    assert found["samples"] == 101
    assert found == evaluate(net, run.weights, DATA)


def test_evaluate_takes_paths(tmp_path):
    data = line_data(20)
    run = train(line, data, epochs=2, learning_rate=0.1)
    run.save(tmp_path / "w.safetensors")
    np.savez(tmp_path / "d.npz", **data)
    found = evaluate(line, tmp_path / "w.safetensors", tmp_path / "d.npz")
    assert found == evaluate(line, run, data)


def test_evaluate_refuses_a_row_that_is_not_finite():
    data = line_data(20)
    data["x"][4] = np.nan
    with pytest.raises(DataError, match="row 5, column 'x' is nan"):
        evaluate(line, {"slope": 1.0, "offset": 0.0}, data)
