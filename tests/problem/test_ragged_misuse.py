"""Misuse of ragged samples: one clear message for each."""

from __future__ import annotations

import numpy as np
import pytest

from dtrain import (
    init,
    loss_and_gradient,
    losses,
    predict,
    present,
    program,
    ragged,
    train,
    weight,
    zoo,
)
from dtrain.errors import DataError, ProgramError, UsageError
from tests.problem.ragged_data import charges, clusters, columns_for
from tests.problem.test_ragged import SHAPES, start


def test_weights_whose_shape_depends_on_the_length_are_refused():
    @program
    def grows(r):
        return np.sum(r * weight("W", (r.shape[0], 1)), where=present(r)[:, None])

    data = {"r": clusters(5)["r"], "t": np.zeros(5)}
    with pytest.raises(ProgramError, match="'W' depends on the padded length"):
        train(grows, data, epochs=1, learning_rate=0.1)
    one = {"r": ragged([np.ones((16, 3))] * 2), "t": np.zeros(2)}
    with pytest.raises(ProgramError, match="'W' depends on the padded length"):
        train(grows, one, epochs=1, learning_rate=0.1)


def test_present_takes_a_ragged_input_only():
    @program
    def plain(r):
        return weight("w") * np.sum(r, where=present(r)[:, None])

    rectangular = {"r": np.ones((4, 2, 3)), "t": np.zeros(4)}
    with pytest.raises(ProgramError, match=r"no input of this program is ragged.*rag"):
        train(plain, rectangular, epochs=1, learning_rate=0.1)

    @program
    def computed(r):
        return weight("w") * np.sum(r, where=present(2 * r)[:, None])

    data = {"r": clusters(5)["r"], "t": np.zeros(5)}
    with pytest.raises(ProgramError, match=r"not a computed value.*ragged inputs: r"):
        train(computed, data, epochs=1, learning_rate=0.1)
    with pytest.raises(ProgramError, match="inside a function marked @program"):
        present(np.ones(3))


def test_an_output_with_padding_on_a_second_axis_is_refused():
    @program
    def pairs(r):
        return weight("w") * (r @ r.T)

    with pytest.raises(ProgramError, match="one row for each row of a ragged input"):
        predict(pairs, {"w": 1.0}, {"r": clusters(5)["r"]})


def test_a_custom_loss_that_cannot_leave_out_rows_is_refused():
    class Plain(losses.SquareError):
        name = "plain"

        def of_sample(self, output, target):
            return super().of_sample(output, target)

    data = columns_for(charges, clusters(5))
    with pytest.raises(UsageError, match="'plain' takes no ragged targets"):
        loss_and_gradient(charges, start(charges), data, loss=Plain())


def test_targets_of_other_lengths_are_refused():
    data = clusters(6)
    inputs = {name: data[name] for name in SHAPES}
    target = [np.vstack([q, q[:1]]) for q in data["q"]]
    with pytest.raises(DataError, match="row 1: the target has length"):
        loss_and_gradient(charges, start(charges), inputs, target)
    with pytest.raises(DataError, match="target has shape"):
        loss_and_gradient(charges, start(charges), inputs, np.ones((6, 3)))
    with pytest.raises(DataError, match="no input of the program is"):
        loss_and_gradient(zoo.lecture, init(zoo.lecture), list(np.ones((2, 6))), target)
