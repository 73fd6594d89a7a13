"""Every program of the zoo has a text, data that fit, and learns from them."""

import inspect

import numpy as np
import pytest

import dtrain
from dtrain import train, zoo
from dtrain.data.columns import Dataset, bind
from dtrain.descent import optimizers
from dtrain.training.settings import Settings

entries = pytest.mark.parametrize("name", zoo.ENTRIES)


@entries
def test_an_entry_is_complete(name):
    entry = zoo.ENTRIES[name]
    assert getattr(dtrain.zoo, name) is entry.program
    assert inspect.getdoc(entry.program.function)
    assert entry.data in zoo.DATA
    assert entry.heldout is None or entry.heldout in zoo.DATA
    Settings(**entry.options)


@pytest.mark.parametrize("name", zoo.DATA)
def test_data_are_finite_samples_for_some_program(name):
    dataset = zoo.DATA[name]()
    assert isinstance(dataset, Dataset)
    users = [e for e in zoo.ENTRIES.values() if name in (e.data, e.heldout)]
    assert users
    for entry in users:
        samples = bind(dataset, entry.program.inputs, None, {})
        samples.check_finite(0, len(samples))


@entries
def test_a_program_learns_from_its_data(name):
    entry = zoo.ENTRIES[name]
    options = {**entry.options, "epochs": 5}
    run = train(entry.program, zoo.DATA[entry.data](), **options)
    losses = run.report["loss_history"]
    assert losses[-1] < 0.9 * losses[0]
    assert run.report["samples"] == len(zoo.DATA[entry.data]())


def test_the_lecture_s_weights_are_found_again():
    run = train(
        zoo.lecture,
        zoo.DATA["lecture"](),
        epochs=400,
        learning_rate=0.05,
        optimizer=optimizers.adam(),
        weights={name: np.float64(w) for name, w in _start().items()},
        dtype="float64",
    )
    found = [float(run.weights[name]) for name in ("W0", "W1", "W2")]
    np.testing.assert_allclose(found, [0.5, -1, 2], atol=0.02)


def _start():
    return {"W0": 0.2, "W1": -0.5, "W2": 1.0}
