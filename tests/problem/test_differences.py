"""The message of a MismatchError shows what differs between ranks."""

import re

import numpy as np
import pytest

from dtrain import ThreadWorld, program, train, weight
from dtrain.errors import MismatchError
from dtrain.problem.differences import compare_arrays
from dtrain.training.settings import Settings
from dtrain.training.trainer import compare_settings
from dtrain.training.values import Checkpoint
from dtrain.worlds import verdict
from tests.mpirun import mpirun


def message(ranks, work):
    """Run work on ranks that differ, and return the message of the error."""
    with pytest.raises(MismatchError) as caught:
        ThreadWorld(ranks).run(work)
    assert caught.value.agreed
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"folder": "/none/b"},
            "same checkpoint: .*(/none/b).*/none/a",
        ),
        ({"every": 7}, r"same save_every: .*\(7\) against None"),
        ({"seconds": 5.0}, r"same save_seconds: .*\(5.0\) against 60.0"),
        ({"keep": 4}, r"same keep: .*\(4\) against 3"),
    ],
)
def test_the_option_of_checkpoints_that_differs_is_named(options, says):
    def work(world):
        given = {"folder": "/none/a"} | (options if world.rank == 1 else {})
        settings = Settings(epochs=1, learning_rate=0.1, checkpoint=Checkpoint(**given))
        compare_settings(world, settings)

    assert re.search(says, message(3, work))


def test_a_rank_without_checkpoints_is_named():
    def work(world):
        saving = Checkpoint(folder="/none/a") if world.rank else None
        settings = Settings(epochs=1, learning_rate=0.1, checkpoint=saving)
        compare_settings(world, settings)

    assert re.search(r"same checkpoint: rank 0 on \S+ \(None\)", message(3, work))


def test_long_values_are_shown_where_they_differ():
    same = "x" * 500
    texts = [f"{same}one{same}", f"{same}two{same}", f"{same}one{same}"]
    error = verdict.mismatch("setting", texts, ["rank 0", "rank 1", "rank 2"])
    assert re.search(r"rank 1 \(…x+twox+…\) against …x+onex+… on", str(error))
    assert len(str(error)) < 400


def test_all_differences_of_long_values_are_shown():
    texts = ["a" * 300, "a" * 300, "b" + "a" * 299, "a" * 200 + "c" + "a" * 99]
    error = verdict.mismatch("setting", texts, [f"rank {i}" for i in range(4)])
    first, second = re.findall(r"rank \d \((.*?)\)", str(error))
    assert "b" in first
    assert "c" in second


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda x: x + (np.arange(10) == 4),
            r"'x', .* 1 values at \[4\]: 2.0 on rank 1",
        ),
        (lambda x: x.astype("f4"), r"'x', <f4 of shape \(10,\) on rank 1, <f8"),
        (lambda x: x[:9], r"'x', <f8 of shape \(9,\) on rank 1, <f8 of shape \(10,\)"),
        (lambda x: np.where(x, np.nan, 0.0), "nan on rank 1, 1.0 on rank 0"),
        (lambda x: x.astype(str), r"'x', <U32 of shape"),
    ],
)
@pytest.mark.parametrize("ranks", [2, 3])
def test_the_first_value_that_differs_is_shown(change, says, ranks):
    def work(world):
        x = np.ones(10)
        x = change(x) if world.rank == 1 else x
        total = str(world.rank == 1)
        compare_arrays(world, "data set", total, {"t": np.ones(3), "x": x}, "column")

    found = message(ranks, work)
    assert "same data set: rank 1 on" in found
    assert re.search(says, found), found


def test_a_column_of_one_rank_only_is_named():
    def work(world):
        names = "xyz" if world.rank == 1 else "xy"
        arrays = {name: np.ones(2) for name in names}
        compare_arrays(world, "data set", names, arrays, "column")

    assert "'z', <f8 of shape (2,) on rank 1, none on rank 0" in message(3, work)


@program
def line(x):
    """Scale by one weight."""
    return weight("a") * x


def train_differently(world):
    """Train with another folder, then other data, then other weights on rank 1."""
    x, other = np.ones(10), world.rank == 1
    usual = {"epochs": 1, "learning_rate": 0.1, "world": world}
    with pytest.raises(MismatchError, match=r"same checkpoint.*/none/[ab]\).*/none/"):
        train(line, {"x": x, "t": x}, checkpoint=f"/none/{'ab'[other]}", **usual)
    with pytest.raises(
        MismatchError, match="column that differs: 't', the first of 10"
    ):
        train(line, {"x": x, "t": x + other}, **usual)
    with pytest.raises(MismatchError, match=r"'a', the first of 1 values at \[\]: 2.0"):
        train(line, {"x": x, "t": x}, weights={"a": 1.0 + other}, **usual)


@pytest.mark.parametrize("ranks", [2, 3])
def test_train_shows_what_differs_between_processes(ranks):
    run = mpirun(ranks, train_differently)
    assert run.returncode == 0, run.stderr
