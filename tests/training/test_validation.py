"""Validation, patience and tolerance: same numbers on any ranks, after any break."""

import math
import shutil

import numpy as np
import pytest

from dtrain import (
    Checkpoint,
    SoloWorld,
    ThreadWorld,
    Validation,
    evaluate,
    load,
    optimizers,
    program,
    train,
    weight,
)
from dtrain.data.order import split
from dtrain.engine.engine import BACKENDS
from dtrain.engine.execution.models import EXECUTIONS
from dtrain.errors import DataError, UsageError
from tests.training.programs import line, line_data, net, net_data, settle

BASE = {
    "batch": 10,
    "block": 3,
    "learning_rate": 0.05,
    "optimizer": optimizers.adam(),
    "dtype": "float64",
}


def world_of(ranks):
    return SoloWorld() if ranks == 1 else ThreadWorld(ranks)


def fit(validation, data=None, **options):
    data = net_data(47) if data is None else data
    return train(net, data, **{**BASE, "epochs": 4, "validation": validation} | options)


def rows(data, chosen):
    return {name: column[chosen] for name, column in data.items()}


def told(run):
    report = run.report
    keys = ("validation_loss", "validation_history", "best_epoch", "stopped")
    return {key: report[key] for key in (*keys, "message", "steps", "loss_history")}


def overfit(validation=None, **options):
    """Train a model that learns its few samples by heart; two steps are an epoch."""
    options = {"epochs": 60, "learning_rate": 0.01, "batch": 4} | options
    return fit(validation or Validation(0.5, patience=3), net_data(16), **options)


def test_a_share_is_trained_and_validated_like_separate_data_sets():
    data = net_data(47)
    kept, apart = split(47, 0.3, seed=0)
    assert sorted([*kept, *apart]) == list(range(47))
    shared = fit(0.3)
    separate = fit(rows(data, apart), rows(data, kept))
    assert shared.digest == separate.digest
    assert told(shared) == told(separate)
    assert shared.report["samples"] == 33
    assert shared.report["validation_samples"] == 14


def test_validation_by_a_data_set_changes_no_weight():
    assert fit(net_data(20)).digest == fit(None).digest


def test_the_results_are_those_of_evaluate():
    data = net_data(20)
    run = fit(data, block=None)
    *_, last = run.report["validation_history"]
    right = evaluate(net, run, data)
    assert last == {"epoch": 4, **{k: v for k, v in right.items() if k != "samples"}}
    assert run.report["validation_loss"] == right["loss"]
    assert run.history[-1].validation == right
    epochs = [step.epoch for step in run.history if step.validation is not None]
    assert epochs == [1, 2, 3, 4]
    assert all(step.is_epoch_end for step in run.history if step.validation is not None)


@pytest.mark.parametrize("ranks", [2, 3, 4, 7])
def test_any_number_of_ranks_validates_and_stops_alike(ranks):
    alone, many = overfit(), overfit(world=world_of(ranks))
    assert alone.report["stopped"] == "patience"
    assert many.digest == alone.digest
    assert told(many) == told(alone)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("execution", EXECUTIONS)
def test_backends_and_execution_models_validate(backend, execution):
    plain, other = (
        overfit(backend=backend),
        overfit(backend=backend, execution=execution),
    )
    assert told(other) == told(plain)
    assert other.digest == plain.digest


def test_patience_ends_with_the_best_weights():
    run = overfit()
    history = run.report["validation_history"]
    losses_by_epoch = [each["loss"] for each in history]
    best = int(np.argmin(losses_by_epoch)) + 1
    assert run.report["best_epoch"] == best
    assert len(history) == best + 3
    assert run.report["validation_loss"] == min(losses_by_epoch)
    assert run.report["message"].endswith(f"the weights are those of epoch {best}")
    assert run.digest == overfit(epochs=best).digest


def test_the_last_weights_may_be_kept():
    options = {"patience": 3, "restore_best": False}
    data = net_data(24)
    run = fit(Validation(0.5, **options), data, epochs=60, learning_rate=0.3)
    assert run.report["stopped"] == "patience"
    last = run.report["validation_history"][-1]
    assert run.report["validation_loss"] == last["loss"]
    again = fit(0.5, data, epochs=last["epoch"], learning_rate=0.3)
    assert run.digest == again.digest


def test_only_every_so_many_epochs_and_the_last_are_validated():
    run = fit(Validation(0.3, every=3), epochs=8)
    assert [each["epoch"] for each in run.report["validation_history"]] == [3, 6, 8]
    assert run.digest == fit(0.3, epochs=8).digest


def test_an_improvement_is_larger_than_min_delta():
    run = fit(Validation(0.3, patience=2, min_delta=1e6), epochs=9)
    assert run.report["best_epoch"] == 1
    assert run.report["steps"] == 3 * 4


@pytest.mark.parametrize("at", [8, 9, 10, 11])
def test_a_resumed_run_stops_at_the_same_step(tmp_path, at):
    """In the middle and at the end of an epoch, on another number of ranks."""
    whole = overfit(
        checkpoint=Checkpoint(tmp_path / "a", every=1, keep=999), callbacks=[settle]
    )
    assert whole.report["steps"] > at
    for ranks in (1, 3):
        folder = tmp_path / f"{at}-{ranks}"
        folder.mkdir()
        shutil.copy(tmp_path / "a" / f"step-{at:08}.safetensors", folder)
        run = overfit(
            checkpoint=Checkpoint(folder, resume=True, every=1), world=world_of(ranks)
        )
        assert run.report["resumed_from_step"] == at
        assert run.digest == whole.digest
        assert told(run) == told(whole)


def test_a_run_that_has_stopped_stops_again_or_continues_with_more_patience(tmp_path):
    whole = overfit(checkpoint=Checkpoint(tmp_path, every=1))
    again = overfit(checkpoint=Checkpoint(tmp_path, every=1, resume=True))
    assert again.history == []
    assert again.digest == whole.digest
    assert told(again) == told(whole)
    longer = overfit(
        checkpoint=Checkpoint(tmp_path, every=1, resume=True),
        validation=Validation(0.5, patience=6),
    )
    assert longer.report["steps"] > whole.report["steps"]
    assert longer.digest == overfit(validation=Validation(0.5, patience=6)).digest


def test_other_validation_data_are_another_run(tmp_path):
    fit(0.3, checkpoint=Checkpoint(tmp_path))
    with pytest.raises(UsageError, match=r"validation was 0.3 of the rows and is 0.2"):
        fit(0.2, checkpoint=Checkpoint(tmp_path, resume=True))
    data = net_data(20)
    fit(data, checkpoint=Checkpoint(tmp_path / "b"))
    data["x"][0] += 1
    with pytest.raises(UsageError, match="the validation data have changed"):
        fit(data, checkpoint=Checkpoint(tmp_path / "b", resume=True))
    forced = Checkpoint(tmp_path / "b", resume=True, force=True)
    run = fit(data, checkpoint=forced, epochs=6)
    assert [each["epoch"] for each in run.report["validation_history"]] == [4, 5, 6]


def test_the_best_checkpoint_is_the_best_validation_s(tmp_path):
    run = overfit(checkpoint=Checkpoint(tmp_path, every=2, keep=1), callbacks=[settle])
    best = run.report["best_epoch"]
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept[0] == f"step-{2 * best:08}.safetensors"
    np.testing.assert_equal(load(tmp_path / kept[0]), dict(run.weights))


def test_a_callback_may_stop_by_the_validation():
    first = [fit(0.3).report["validation_history"][0]["loss"]]

    def enough(step):
        if step.validation is not None and step.validation["loss"] < first[0]:
            step.stop("good enough")

    run = fit(0.3, epochs=50, callbacks=[enough], world=ThreadWorld(3))
    assert run.report["stopped"] == "callback"
    assert "good enough" in run.report["message"]


def test_metrics_fit_the_loss():
    @program
    def logits(x):
        return weight("W", (3, 2)) @ x

    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 2))
    data = {"x": x, "t": np.argmax(x @ rng.standard_normal((2, 3)), axis=1)}
    run = train(
        logits,
        data,
        epochs=3,
        learning_rate=0.1,
        loss="cross_entropy",
        validation=0.5,
    )
    assert set(run.report["validation_history"][0]) == {"epoch", "loss", "accuracy"}


def test_a_loss_that_is_not_finite_is_no_improvement(caplog):
    @program
    def root(x):
        return weight("a", (), 1.0) * np.sqrt(x)

    data = {"x": np.ones(5), "t": np.zeros(5)}
    bad = {"x": np.array([1.0, -1.0]), "t": np.zeros(2)}
    run = train(
        root, data, epochs=9, learning_rate=0.1, validation=Validation(bad, patience=2)
    )
    assert run.report["steps"] == 2
    assert run.report["best_epoch"] is None
    assert run.report["validation_history"][0]["loss"] is None
    assert "the validation loss after epoch 1 is nan" in caplog.text
    assert math.isfinite(run.report["loss"])


def test_tolerance_ends_a_run_that_has_converged():
    options = {"epochs": 2000, "learning_rate": 0.5}
    run = train(line, line_data(), tolerance=1e-6, **options)
    assert (run.report["stopped"], run.report["converged"]) == ("converged", True)
    last = run.report["loss_history"][-3:]
    changes = np.abs(np.diff(last)) / np.abs(last[1:])
    assert (changes < 1e-6).all()
    assert "less than 1e-06 of itself" in run.report["message"]
    many = train(line, line_data(), tolerance=1e-6, world=ThreadWorld(3), **options)
    assert many.digest == run.digest
    few = train(line, line_data(), tolerance=1e-6, epochs=3, learning_rate=0.5)
    assert few.report["converged"] is False
    assert fit(None).report["converged"] is None


@pytest.mark.parametrize(
    ("validation", "error", "words"),
    [
        (0, UsageError, "between 0 and 1"),
        (1.0, UsageError, "between 0 and 1"),
        (math.nan, UsageError, "between 0 and 1"),
        (True, UsageError, "give a data set, or a share"),
        ("nowhere.csv", DataError, "nowhere.csv: there is no such file"),
        ({"x": np.ones((3, 4)), "s": np.ones(3)}, DataError, "no column 't'"),
        (
            {"x": np.ones((3, 5)), "s": np.ones(3), "t": np.ones((3, 2))},
            DataError,
            r"input 'x' has samples of shape \(5,\); in .* it is \(4,\)",
        ),
    ],
)
def test_misuse_is_explained(validation, error, words):
    with pytest.raises(error, match=words):
        fit(validation, target="t")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patience": 0}, "patience is 0"),
        ({"every": 0.5}, "validate_every is 0.5"),
        ({"min_delta": -1}, "min_delta is -1"),
        ({"restore_best": "yes"}, "restore_best is 'yes'"),
    ],
)
def test_options_of_validation_are_checked(options, words):
    with pytest.raises(UsageError, match=words):
        Validation(0.2, **options)


def test_one_sample_cannot_be_shared():
    with pytest.raises(DataError, match="there is 1 sample"):
        train(
            line,
            {"x": np.ones(1), "t": np.ones(1)},
            epochs=1,
            learning_rate=0.1,
            validation=0.5,
        )


def test_patience_belongs_to_validation():
    with pytest.raises(UsageError, match="no option 'patience'; did you mean 'valid"):
        train(line, line_data(), epochs=1, learning_rate=0.1, patience=3)
