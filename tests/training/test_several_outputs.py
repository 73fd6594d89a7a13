"""Several outputs, each with its own target and loss: the sum, its parts, its bits."""

import logging

import numpy as np
import pytest

from dtrain import (
    Checkpoint,
    SoloWorld,
    ThreadWorld,
    check,
    evaluate,
    loss_and_gradient,
    losses,
    objective,
    optimizers,
    penalties,
    predict,
    program,
    train,
    weight,
)
from dtrain.data.keys import target_key
from dtrain.descent.loss import target_input
from dtrain.engine.engine import BACKENDS
from dtrain.engine.execution.models import EXECUTIONS
from dtrain.errors import DataError, DtrainError, ProgramError, UsageError
from tests.training.programs import settle

ROWS = 53
FIT = {
    "target": {"E": "energy", "F": "forces", "kind": "label"},
    "loss": {"E": "square", "F": ("huber", 0.1), "kind": ("cross_entropy", 0.5)},
}


def _hidden(x):
    return np.tanh(weight("hidden.W", (5, 3)) @ x + weight("hidden.b", 5))


@program
def atom(x):
    """An energy, forces, logits of a kind, and the size of the weights."""
    h = _hidden(x)
    energy = weight("out", 5) @ h
    return {
        "E": energy,
        "F": weight("force.W", (3, 5)) @ h * energy,
        "kind": weight("kind.W", (4, 5)) @ h,
        "size": np.sum(np.square(weight("out", 5))),
    }


@program
def energy(x):
    """The first output of `atom` alone."""
    return weight("out", 5) @ _hidden(x)


@program
def twice(x):
    """One value under two names."""
    y = weight("slope") * x
    return {"a": y, "b": y}


@program
def once(x):
    return weight("slope") * x


def data(rows=ROWS):
    rng = np.random.default_rng([7, rows])
    return {
        "x": rng.standard_normal((rows, 3)),
        "energy": rng.standard_normal(rows),
        "forces": rng.standard_normal((rows, 3)),
        "label": rng.integers(0, 4, rows),
        "w": rng.integers(0, 3, rows).astype(float),
    }


def fit(table=None, program=atom, **options):
    given = {
        "epochs": 3,
        "batch": 20,
        "block": 3,
        "learning_rate": 0.05,
        "optimizer": optimizers.adam(),
        "dtype": "float64",
        **FIT,
        **options,
    }
    return train(program, data() if table is None else table, **given)


def weights():
    rng = np.random.default_rng(3)
    shapes = {"hidden.W": (5, 3), "hidden.b": 5, "out": 5}
    shapes |= {"force.W": (3, 5), "kind.W": (4, 5)}
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def world_of(ranks):
    return SoloWorld() if ranks == 1 else ThreadWorld(ranks)


@pytest.mark.parametrize("backend", BACKENDS)
def test_ranks_and_execution_models_do_not_change_the_bits(backend):
    def told(**options):
        run = fit(
            backend=backend,
            sample_weight="w",
            validation=0.3,
            penalty=penalties.Norms(l2=1e-3),
            **options,
        )
        report = run.report
        return run.digest, report["loss_history"], report["validation_history"]

    first = told()
    assert {told(world=world_of(ranks)) == first for ranks in (2, 3, 4, 7)} == {True}
    for execution in EXECUTIONS:
        assert told(execution=execution, threads=2) == first
    assert {"E.loss", "E.rmse", "F.r2", "kind.accuracy"} <= first[2][-1].keys()


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_fitted_output_has_the_bits_of_the_program_that_returns_it(backend):
    columns = {name: data()[name] for name in ("x", "energy")}
    only = ("hidden.W", "hidden.b", "out")
    first = {name: weights()[name] for name in only}
    alone = fit(
        columns,
        energy,
        target="energy",
        loss="absolute",
        weights=first,
        backend=backend,
    )
    several = fit(
        columns,
        target={"E": "energy"},
        loss="absolute",
        weights=weights(),
        backend=backend,
    )
    for name in only:
        assert np.array_equal(several.weights[name], alone.weights[name])
    assert several.report["loss_history"] == alone.report["loss_history"]
    for name in ("force.W", "kind.W"):
        assert np.array_equal(several.weights[name], weights()[name])


def test_the_total_is_the_sum_of_factors_times_mean_losses():
    found = evaluate(atom, weights(), data(), **FIT)
    outputs = predict(atom, weights(), {"x": data()["x"]})
    error = data()["energy"] - outputs["E"]
    assert found["E.loss"] == pytest.approx(np.mean(error**2), rel=1e-12)
    assert found["E.rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-12)
    right = outputs["kind"].argmax(axis=1) == data()["label"]
    assert found["kind.accuracy"] == pytest.approx(right.mean(), rel=1e-15)
    parts = found["E.loss"] + 0.1 * found["F.loss"] + 0.5 * found["kind.loss"]
    assert found["loss"] == pytest.approx(parts, rel=1e-12)
    assert "size.loss" not in found


def test_weights_of_samples_count_in_every_output():
    columns = data()
    found = evaluate(atom, weights(), columns, sample_weight="w", **FIT)
    rows = np.repeat(np.arange(ROWS), columns["w"].astype(int))
    repeated = {name: column[rows] for name, column in columns.items()}
    expected = evaluate(atom, weights(), repeated, **FIT)
    assert found | {"samples": len(rows)} == pytest.approx(expected, rel=1e-12)


def test_the_gradient_is_linear_in_the_factors():
    x, d = {"x": data()["x"]}, data()
    targets = {"E": d["energy"], "F": d["forces"], "kind": d["label"]}
    loss, gradient = loss_and_gradient(atom, weights(), x, targets, loss=FIT["loss"])
    parts = [
        (factor, loss_and_gradient(atom, weights(), x, {o: targets[o]}, loss={o: name}))
        for o, name, factor in (
            ("E", "square", 1.0),
            ("F", "huber", 0.1),
            ("kind", "cross_entropy", 0.5),
        )
    ]
    assert loss == pytest.approx(sum(f * part[0] for f, part in parts), rel=1e-13)
    for name, value in gradient.items():
        total = sum(f * part[1][name] for f, part in parts)
        np.testing.assert_allclose(value, total, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("first", list(losses.LOSSES))
def test_the_gradient_of_mixed_losses_is_that_of_differences(first):
    """Each loss sets the scale once: the others are fitted to it."""
    output = {"cross_entropy": "kind", "mean": "size"}.get(first, "E")
    mixed = {output: first, "F": ("absolute", 0.3)}
    if output != "size":
        mixed["size"] = ("mean", 0.2)
    assert check(atom, {"x": data()["x"]}, loss=mixed).passed


def test_a_value_under_two_names_gets_both_gradients():
    x, a, b = np.linspace(-1, 1, 9), np.ones(9), np.linspace(0, 3, 9)
    given = {"slope": 0.7}
    _, both = loss_and_gradient(twice, given, [x], {"a": a, "b": b}, loss="square")
    each = [loss_and_gradient(once, given, [x], t)[1]["slope"] for t in (a, b)]
    assert both["slope"] == pytest.approx(sum(each), rel=1e-14)


def test_an_output_s_target_is_the_column_of_its_name():
    x, a, b = np.linspace(-1, 1, 9), np.ones(9), np.linspace(0, 3, 9)
    columns = {"x": x, "a": a, "b": b}
    options = {"epochs": 3, "learning_rate": 0.1}
    run = train(twice, columns, loss={"a": "square", "b": "square"}, **options)
    named = train(twice, columns, target={"b": "b", "a": "a"}, **options)
    assert run.digest == named.digest


def test_targets_are_lists_and_ranges_of_columns_as_well():
    columns = data()
    for i, name in enumerate(("fx", "fy", "fz")):
        columns[name] = columns["forces"][:, i]
    expected = fit()
    for forces in ("fx:fz", ["fx", "fy", "fz"]):
        target = {**FIT["target"], "F": forces}
        assert fit(columns, target=target).digest == expected.digest
    renamed = {"columns": {"f": "fx:fz"}, "target": {**FIT["target"], "F": "f"}}
    assert fit(columns, **renamed).digest == expected.digest


def test_texts_are_classes_of_an_output():
    columns = data()
    texts = np.array(["ant", "bee", "cow", "dog"])[columns["label"]]
    assert fit({**columns, "label": texts}).digest == fit().digest
    with pytest.raises(
        DataError, match=r"'ant'.*computes with the target of output 'E"
    ):
        fit({**columns, "energy": texts})


def test_a_validation_set_has_the_targets_of_all_outputs():
    other = data(20)
    run = fit(validation=other, block=None)
    *_, last = run.report["validation_history"]
    expected = {**evaluate(atom, run, other, **FIT), "epoch": 3}
    del expected["samples"]
    assert last == expected
    wrong = {**other, "forces": other["energy"]}
    with pytest.raises(DataError, match=r"the target of output 'F' has samples of sha"):
        fit(validation=wrong)


def test_the_order_of_mappings_does_not_change_the_bits():
    turned = {
        key: dict(reversed(list(mapping.items()))) for key, mapping in FIT.items()
    }
    assert fit(**turned).digest == fit().digest


def test_an_objective_has_the_total_loss():
    f = objective(atom, data(), **FIT)
    at = f.flatten(weights())
    expected = evaluate(atom, weights(), data(), **FIT)["loss"]
    assert f.value(at) == pytest.approx(expected, rel=1e-13)


def test_a_run_resumes_in_the_middle_of_an_epoch(tmp_path):
    whole = fit(epochs=4, validation=0.3)
    saved = Checkpoint(tmp_path, every=1, keep=100)
    fit(epochs=2, validation=0.3, checkpoint=saved, callbacks=[settle])
    for path in sorted(tmp_path.glob("step-*"))[4:]:
        path.unlink()
    again = fit(
        epochs=4,
        validation=0.3,
        checkpoint=Checkpoint(tmp_path, resume=True),
        world=ThreadWorld(3),
    )
    assert again.digest == whole.digest
    for key in ("loss_history", "validation_history"):
        assert again.report[key] == whole.report[key]
    other = {**FIT["loss"], "F": ("huber", 0.2)}
    with pytest.raises(UsageError, match="loss"):
        fit(loss=other, validation=0.3, checkpoint=Checkpoint(tmp_path, resume=True))


def test_an_output_that_is_not_fitted_is_named(caplog):
    with caplog.at_level(logging.INFO, "dtrain"):
        run = fit(target={"E": "energy", "F": "forces"}, loss="square")
    assert "not fitted, since no target or loss names it: kind, size" in caplog.text
    assert any(
        "not depend on weight kind.W: fit an output that uses it (kind, size" in text
        for text in run.report["warnings"]
    )


def test_what_is_not_finite_is_found_in_the_loss_of_an_output():
    columns = {**data(), "energy": np.full(ROWS, 1e200)}
    with pytest.raises(DtrainError, match=r"loss 'E=square F=huber:0.1 kind="):
        fit(columns)


def test_class_weights_are_for_one_output():
    with pytest.raises(UsageError, match=r"class_weight is for one output"):
        fit(class_weight="balanced")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": "energy"}, ProgramError, r"outputs E, F, kind, size: name those"),
        (
            {"target": "energy", "loss": {"E": "square"}},
            UsageError,
            r"target must, too: target=\{OUTPUT: 'energy'\}",
        ),
        ({"target": {"e": "energy"}}, UsageError, "no output 'e'; there are E, F"),
        ({"target": {"E": "enrgy"}}, DataError, "'enrgy' for the target of output 'E'"),
        ({"target": None, "loss": {"E": "square"}}, DataError, "no column 'E'"),
        ({"target": {"E": 3}}, UsageError, "a mapping of outputs to columns"),
        ({"target": {"E": "forces"}}, DataError, r"output 'E' has shape \(3,\)"),
        ({"target": {}, "loss": {}}, UsageError, "name no output"),
        ({"loss": "mean"}, UsageError, "takes none"),
        ({"loss": {"E": "sqare"}}, UsageError, "did you mean 'square'"),
        ({"loss": {"E": ("square", 0)}}, UsageError, "factor of output 'E' is 0"),
        ({"loss": {"E": ("square", True)}}, UsageError, "must be finite and > 0"),
        ({"loss": {"E": ("square", 1, 2)}}, UsageError, "a loss and its factor"),
        ({"loss": {1: "square"}}, UsageError, "an output's name must be a text"),
        ({"loss": "cross_entropy"}, ProgramError, "output 'E': loss 'cross_entropy'"),
        (
            {"target": {"kind": "energy"}, "loss": "cross_entropy"},
            DataError,
            "class labels must be integers",
        ),
    ],
)
def test_what_does_not_fit_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        fit(**{"target": {"E": "energy"}, "loss": "square"} | options)


def test_data_and_loss_give_a_target_one_name():
    for output in (None, "E", "with space"):
        assert target_key(output) == target_input(output)
