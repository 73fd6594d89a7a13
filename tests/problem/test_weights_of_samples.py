"""Weights of samples and classes: weighted means everywhere, the same on any ranks."""

import numpy as np
import pytest

from dtrain import (
    Checkpoint,
    SoloWorld,
    ThreadWorld,
    evaluate,
    loss_and_gradient,
    losses,
    objective,
    optimizers,
    penalties,
    program,
    train,
    weight,
)
from dtrain.engine.engine import BACKENDS
from dtrain.engine.execution.models import EXECUTIONS
from dtrain.errors import DataError, UsageError
from tests.training.programs import net, net_data

ROWS = 53


def data():
    rng = np.random.default_rng(5)
    return {**net_data(ROWS), "w": rng.integers(0, 4, ROWS).astype(float)}


def fit(columns=None, **options):
    given = {
        "epochs": 3,
        "batch": 20,
        "block": 3,
        "learning_rate": 0.05,
        "optimizer": optimizers.adam(),
        "dtype": "float64",
        "target": "t",
        "sample_weight": "w",
        **options,
    }
    return train(net, data() if columns is None else columns, **given)


@program
def plane(x):
    return weight("slope", 3, "zeros") @ x + weight("offset", (), 0.0)


def plane_data():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((40, 3))
    t = x @ [1.0, 2.0, 3.0] + rng.standard_normal(40)
    return x, t, rng.uniform(0, 2, 40)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_whole_weight_counts_a_sample_so_many_times(backend):
    columns = data()
    times = columns["w"].astype(int)
    repeated = {name: np.repeat(x, times, axis=0) for name, x in columns.items()}
    weights = fit(columns).weights
    options = {"dtype": "float64", "backend": backend, "target": "t"}
    inputs = ({k: columns[k] for k in "xstw"}, {k: repeated[k] for k in "xst"})
    loss, gradient = loss_and_gradient(
        net, weights, inputs[0], sample_weight="w", **options
    )
    right, slopes = loss_and_gradient(net, weights, inputs[1], **options)
    assert loss == pytest.approx(right, rel=1e-13)
    for name, slope in slopes.items():
        np.testing.assert_allclose(gradient[name], slope, rtol=1e-11, atol=1e-13)
    found = evaluate(net, weights, columns, target="t", sample_weight="w")
    expected = evaluate(net, weights, repeated, target="t")
    assert found.pop("samples") == ROWS
    assert expected.pop("samples") == times.sum()
    assert found == pytest.approx(expected, rel=1e-12)


def test_the_optimum_is_that_of_the_normal_equations():
    x, t, w = plane_data()
    f = objective(plane, {"x": x, "t": t, "w": w}, sample_weight="w")
    ones = np.column_stack([np.ones(40), x])  # the vector is in name order
    right = np.linalg.solve(ones.T * w @ ones, ones.T * w @ t)
    value, gradient = f.value_and_gradient(right)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)
    assert value == pytest.approx(np.average((t - ones @ right) ** 2, weights=w))


def test_the_penalty_counts_once():
    x, t, w = plane_data()
    ridge = {"penalty": penalties.Norms(l2=0.1)}
    f = objective(plane, {"x": x, "t": t, "w": w}, sample_weight="w", **ridge)
    ones = np.column_stack([np.ones(40), x])
    share = w / w.sum()
    system = ones.T * share @ ones + 0.1 * np.eye(4)
    right = np.linalg.solve(system, ones.T * share @ t)
    np.testing.assert_allclose(f.value_and_gradient(right)[1], 0, atol=1e-12)


@pytest.mark.parametrize("ranks", [2, 3, 4, 7])
def test_any_number_of_ranks_gives_the_same_bits(ranks):
    alone, many = (
        fit(world=world, validation=0.2) for world in (SoloWorld(), ThreadWorld(ranks))
    )
    assert many.digest == alone.digest
    for key in ("loss_history", "validation_history"):
        assert many.report[key] == alone.report[key]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("execution", EXECUTIONS)
def test_execution_models_give_the_same_bits(backend, execution):
    assert (
        fit(backend=backend, execution=execution).digest == fit(backend=backend).digest
    )


def test_the_loss_of_an_epoch_is_a_weighted_mean():
    run = fit(learning_rate=0.0, epochs=2)
    right = evaluate(net, run, data(), target="t", sample_weight="w")["loss"]
    assert run.report["loss_history"] == pytest.approx([right, right], rel=1e-12)


def test_equal_weights_change_nothing_but_rounding():
    columns = {**data(), "w": np.full(ROWS, 3.0)}
    unweighted = fit(columns, sample_weight=None)
    run = fit(columns)
    for name, right in unweighted.weights.items():
        np.testing.assert_allclose(run.weights[name], right, rtol=1e-9)


def test_a_batch_without_weight_has_no_gradient():
    columns = {**data(), "w": np.r_[1.0, np.zeros(ROWS - 1)]}
    run = fit(columns, batch=5, optimizer="sgd")
    taken = [step.loss for step in run.history if step.loss]
    assert len(taken) == 3  # the batch of the first row, once in each epoch
    assert all(map(np.isfinite, run.report["loss_history"]))


def test_a_run_resumes_to_the_same_bits(tmp_path):
    whole = fit()
    fit(epochs=2, checkpoint=Checkpoint(tmp_path, every=4))
    (tmp_path / "step-00000006.safetensors").unlink()
    run = fit(checkpoint=Checkpoint(tmp_path, resume=True), world=ThreadWorld(3))
    assert run.report["resumed_from_step"] == 4
    assert run.digest == whole.digest
    assert run.report["loss_history"] == whole.report["loss_history"]
    with pytest.raises(UsageError, match="columns was"):
        fit(sample_weight=None, checkpoint=Checkpoint(tmp_path, resume=True))


@program
def logits(x):
    return weight("W", (3, 2)) @ x + weight("b", 3, "zeros")


@program
def logit(x):
    return weight("W", 2) @ x + weight("b", (), 0.0)


def classes(count):
    rng = np.random.default_rng(count)
    t = rng.permutation(np.repeat(np.arange(count), np.arange(1, count + 1) * 9))
    return {"x": rng.standard_normal((len(t), 2)) + t[:, None], "t": t}


@pytest.mark.parametrize(
    ("each", "count", "loss"),
    [(logits, 3, "cross_entropy"), (logit, 2, "binary_cross_entropy")],
)
def test_balanced_classes_have_the_weight_of_a_column(each, count, loss):
    columns = classes(count)
    t = columns["t"]
    factors = len(t) / (count * np.bincount(t))
    weighted = {**columns, "w": factors[t]}
    options = {"epochs": 3, "batch": 16, "learning_rate": 0.1, "loss": loss}
    right = train(each, weighted, sample_weight="w", target="t", **options)
    run = train(each, columns, class_weight="balanced", **options)
    assert run.digest == right.digest
    named = dict(enumerate(factors))
    run = train(each, columns, class_weight=named, world=ThreadWorld(3), **options)
    assert run.digest == right.digest


def test_one_hot_targets_have_classes():
    columns = classes(3)
    options = {"epochs": 2, "learning_rate": 0.1, "loss": losses.CrossEntropy()}
    labels = train(logits, columns, class_weight={2: 5.0}, **options)
    hot = {**columns, "t": np.eye(3)[columns["t"]]}
    run = train(logits, hot, class_weight={2: 5.0}, **options)
    assert run.report["loss"] == pytest.approx(labels.report["loss"], rel=1e-5)


def test_both_kinds_of_weights_multiply():
    columns = {**classes(2), "w": np.linspace(0, 1, 27)}
    options = {"epochs": 2, "learning_rate": 0.1, "loss": "binary_cross_entropy"}
    options |= {"target": "t", "sample_weight": "w"}
    run = train(logit, columns, class_weight={1: 3.0}, **options)
    both = {**columns, "w": columns["w"] * np.where(columns["t"] == 1, 3.0, 1.0)}
    assert run.digest == train(logit, both, **options).digest


@pytest.mark.parametrize(
    ("change", "options", "error", "words"),
    [
        ({"w": -1.0}, {}, DataError, r"row 5, column 'w' is -1.0: the weight of a sam"),
        ({"w": np.nan}, {}, DataError, r"row 5, column 'w' is nan"),
        ({"w": 0.0}, {}, DataError, "the weights of all samples are 0"),
        ({}, {"sample_weight": "v"}, DataError, "no column 'v' for the weight of samp"),
        ({}, {"sample_weight": "x"}, DataError, "must hold one number for each samp"),
        ({}, {"sample_weight": 3}, UsageError, "sample_weight is 3; it must be a name"),
        ({}, {"class_weight": "even"}, UsageError, "it must be balanced, or a mapping"),
        ({}, {"class_weight": {0: -1}}, UsageError, "factors of 0 or more"),
        ({}, {"class_weight": "balanced"}, UsageError, "needs a loss of classes"),
    ],
)
def test_misuse_is_explained(change, options, error, words):
    columns = data()
    for name, value in change.items():
        columns[name][4 if value else slice(None)] = value
    with pytest.raises(error, match=words):
        fit(columns, **options)


def test_an_unknown_class_is_named():
    options = {"epochs": 1, "learning_rate": 0.1, "loss": "cross_entropy"}
    with pytest.raises(DataError, match="class_weight names 7, but the classes"):
        train(logits, classes(3), class_weight={7: 2.0}, **options)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.ones(3), r"sample_weight has shape \(3,\)"),
        (-np.ones(40), "finite numbers of 0 or more"),
        (np.zeros(40), "the weights of all samples are 0"),
    ],
)
def test_an_array_of_weights_is_checked(given, words):
    x, t, _ = plane_data()
    with pytest.raises(DataError, match=words):
        loss_and_gradient(
            plane, {"slope": np.ones(3), "offset": 0.0}, [x], t, sample_weight=given
        )


def test_an_array_of_weights_is_that_column():
    x, t, w = plane_data()
    weights = {"slope": np.ones(3), "offset": 0.0}
    one = loss_and_gradient(plane, weights, [x], t, sample_weight=w)
    two = loss_and_gradient(
        plane, weights, {"x": x, "t": t, "w": w}, sample_weight="w", target="t"
    )
    assert one[0] == two[0]
    np.testing.assert_equal(one[1], two[1])
