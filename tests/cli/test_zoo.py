"""Every command takes every program of the zoo by its name, and nothing more."""

import numpy as np
import pytest

from dtrain import zoo

entries = pytest.mark.parametrize("name", zoo.ENTRIES)


def held_out(table):
    """The rows of the table of `train` that are about samples held out."""
    start = "held-out "
    return {k.removeprefix(start): v for k, v in table.items() if k.startswith(start)}


@entries
def test_train_eval_predict_and_show(dtrain, name):
    trained = dtrain("train", name, "--epochs", 1, "--save", "trained.w")
    assert trained.code == 0, trained.err
    found = held_out(trained.table)
    assert list(found) in (["accuracy"], ["rmse", "r2"])
    judged = dtrain("eval", name, "--weights", "trained.w")
    assert {key: judged.table[key] for key in found} == found
    other = dtrain("eval", name, zoo.ENTRIES[name].data, "--weights", "trained.w")
    assert other.table["samples"] == trained.table["samples"]
    words = [
        "predict",
        name,
        "--weights",
        "trained.w",
        "--out",
        "predicted.npy",
        "--raw",
    ]
    assert dtrain(*words).code == 0
    output = np.load("predicted.npy")
    assert f"{len(output):,}" == judged.table["samples"]
    assert np.isfinite(output).all()
    assert dtrain("show", name).out.startswith(f"{zoo.ENTRIES[name].program.name}(")


@pytest.mark.parametrize("name", ["polynomial", "logistic", "rnn", "cnn"])
def test_check_takes_the_zoo_s_loss(dtrain, name):
    answer = dtrain("check", name)
    assert answer.code == 0, answer.out + answer.err
    usual = zoo.ENTRIES[name].options.get("loss", "square")
    assert dtrain("check", name, "--loss", usual).out == answer.out


def test_show_plans_the_zoo_s_loss(dtrain):
    assert "log1p" in dtrain("show", "logistic", "--plan").out
    assert "log1p" not in dtrain("show", "polynomial", "--plan").out


def test_another_loss_is_a_loss_for_what_is_held_out_too(dtrain):
    words = ["train", "logistic", "--epochs", 1, "--loss"]
    assert list(held_out(dtrain(*words, "absolute").table)) == ["rmse", "r2"]
    assert list(held_out(dtrain(*words, "mean").table)) == ["loss"]


def test_a_program_of_one_s_own_is_judged_by_what_the_zoo_keeps_out(dtrain):
    words = ["train", "dtrain.zoo.mlp:mlp", "digits", "--epochs", 1]
    assert list(held_out(dtrain(*words).table)) == ["accuracy"]
    assert held_out(dtrain("train", "model.py:line", "data.csv").table) == {}
    assert held_out(dtrain("train", "lecture", "lecture-heldout").table) == {}


def test_the_zoo_s_optimizer_takes_single_settings(dtrain):
    words = ["train", "rnn", "--epochs", 1]
    usual, clipped, plain = (
        dtrain(*words, *extra).table["weights_sha256"]
        for extra in ([], ["--clip-norm", 1], ["--optimizer", "adam"])
    )
    assert usual == clipped != plain
    answer = dtrain(*words, "--nesterov")
    assert answer.code == 2
    assert "adam has no setting nesterov" in answer.err
