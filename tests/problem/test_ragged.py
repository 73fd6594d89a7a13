"""Samples of different lengths: the numbers of one-by-one evaluation, on any ranks."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from dtrain import (
    Checkpoint,
    SoloWorld,
    ThreadWorld,
    Validation,
    check,
    evaluate,
    init,
    loss_and_gradient,
    losses,
    objective,
    optimizers,
    predict,
    present,
    program,
    ragged,
    train,
    weight,
)
from dtrain.engine.engine import BACKENDS
from dtrain.engine.execution.models import EXECUTIONS
from dtrain.errors import NotFiniteError
from dtrain.problem.evaluator import Computing, Evaluator, whole
from dtrain.problem.padded import arranged
from dtrain.problem.padding import padded
from dtrain.problem.problem import Problem
from dtrain.problem.samples import as_samples
from tests.problem.ragged_data import charges, clusters, columns_for, energy, row
from tests.training.programs import settle

PROGRAMS = [energy, charges]
SHAPES = {"species": (None,), "r": (None, 3)}
BASE = {
    "batch": 16,
    "block": 3,
    "learning_rate": 0.01,
    "optimizer": optimizers.adam(),
    "dtype": "float64",
}


def start(program, seed=0):
    return init(program, seed, shapes=SHAPES)


def world_of(ranks):
    return SoloWorld() if ranks == 1 else ThreadWorld(ranks)


def one_by_one(program, weights, data, count, **options):
    """Return loss and gradient as the mean over samples that are evaluated alone."""
    loss, gradient = 0.0, dict.fromkeys(weights, 0.0)
    for i in range(count):
        value, each = loss_and_gradient(
            program, weights, columns_for(program, row(data, i)), **options
        )
        loss += value / count
        gradient = {name: gradient[name] + each[name] / count for name in gradient}
    return loss, gradient


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
def test_the_gradient_is_that_of_samples_one_by_one(program, execution, backend):
    data, weights = clusters(40), start(program)
    loss, gradient = loss_and_gradient(
        program,
        weights,
        columns_for(program, data),
        execution=execution,
        backend=backend,
        block=4,
    )
    right, each = one_by_one(program, weights, data, 40)
    assert loss == pytest.approx(right, rel=1e-12)
    for name, value in gradient.items():
        size = np.max(np.abs(each[name]))
        assert np.max(np.abs(value - each[name])) <= 1e-12 * size


@pytest.mark.full
def test_the_gradient_of_clusters_of_2_to_60_atoms():
    data, weights = clusters(300, most=60, least=2), start(energy)
    loss, gradient = loss_and_gradient(energy, weights, columns_for(energy, data))
    right, each = one_by_one(energy, weights, data, 300)
    assert loss == pytest.approx(right, rel=1e-12)
    for name, value in gradient.items():
        assert np.max(np.abs(value - each[name])) <= 1e-12 * np.max(np.abs(each[name]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_stacks_change_no_bits(backend):
    samples = as_samples(energy, columns_for(energy, clusters(400)), with_target=True)
    problem = Problem(
        SoloWorld(), energy, samples, losses.LOSSES["square"], dtype="float32"
    )
    weights = problem.start(SoloWorld(), 0)
    computing = Computing(backend=backend)
    evaluator = Evaluator(problem, SoloWorld(), block=3, computing=computing)
    batch, kept = whole(400), evaluator.shard
    assert max(each.count for each in kept.blocks(batch)) >= 4
    found = []
    for stack in (1 << 30, 2, 1):
        evaluator.shard = replace(kept, stack=stack)
        found.append(evaluator.sum(weights, batch).flat.tobytes())
    assert found == found[:1] * 3


def test_a_value_that_is_not_finite_is_traced_to_its_sample():
    @program
    def fails(r):
        return weight("w", (), 1.0) * np.sum(np.log(r), where=present(r))

    arrays = [np.ones(1 + i % 7) for i in range(30)]
    arrays[17][2] = -1.0
    data = {"r": arrays, "t": np.zeros(30)}
    with pytest.raises(NotFiniteError, match="row 18, block"):
        train(fails, data, epochs=1, learning_rate=0.1, block=4)


@pytest.mark.parametrize("loss", ["absolute", "huber", "binary_cross_entropy"])
def test_no_loss_counts_rows_of_padding(loss):
    data, weights = clusters(20, seed=3), start(charges)
    data["q"] = [np.abs(np.sin(q)) for q in data["q"]]
    found, gradient = loss_and_gradient(
        charges, weights, columns_for(charges, data), loss=loss
    )
    right, each = one_by_one(charges, weights, data, 20, loss=loss)
    assert found == pytest.approx(right, rel=1e-12)
    for name, value in gradient.items():
        np.testing.assert_allclose(value, each[name], rtol=1e-11, atol=1e-13)


def test_a_label_for_each_row():
    @program
    def classes(r):
        return r @ weight("W", (3, 4)) + weight("b", (4,), 0.0)[None, :]

    data = clusters(20, seed=4)
    labels = [np.arange(len(r)) % 4 for r in data["r"]]
    inputs = {"r": ragged(data["r"])}
    weights = {"W": np.eye(3, 4), "b": np.zeros(4)}
    loss, _ = loss_and_gradient(
        classes, weights, inputs, ragged(labels), loss="cross_entropy"
    )
    logits = [r @ weights["W"] for r in data["r"]]
    pairs = list(zip(logits, labels, strict=True))
    each = [
        np.log(np.exp(x).sum(axis=1)).sum() - x[np.arange(len(x)), y].sum()
        for x, y in pairs
    ]
    assert loss == pytest.approx(np.mean(each), rel=1e-12)
    found = evaluate(
        classes, weights, {**inputs, "t": ragged(labels)}, loss="cross_entropy"
    )
    right = np.concatenate([x.argmax(axis=1) == y for x, y in pairs])
    assert found["accuracy"] == pytest.approx(right.mean(), rel=1e-12)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
def test_a_gradient_check_passes(program):
    data = columns_for(program, clusters(9))
    target = data.pop("t")
    assert check(program, data, target).passed


def test_metrics_are_of_the_rows():
    data, weights = clusters(50), start(charges)
    outputs = predict(charges, weights, {name: data[name] for name in SHAPES})
    errors = np.concatenate(data["q"]) - np.concatenate(outputs)
    targets = np.concatenate(data["q"])
    variance = np.sum((targets - targets.mean(axis=0)) ** 2)
    found = evaluate(charges, weights, columns_for(charges, data))
    assert found["samples"] == 50
    assert found["loss"] == pytest.approx(np.sum(errors**2) / 50, rel=1e-12)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-12)
    assert found["r2"] == pytest.approx(1 - np.sum(errors**2) / variance, rel=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_of_samples_count_whole_samples(backend):
    data, weights = clusters(30), start(charges)
    counts = np.random.default_rng(1).integers(0, 4, 30)
    repeated = np.repeat(np.arange(30), counts)
    again = {name: [column[i] for i in repeated] for name, column in data.items()}
    weighted = loss_and_gradient(
        charges,
        weights,
        columns_for(charges, data),
        sample_weight=counts,
        backend=backend,
    )
    plain = loss_and_gradient(charges, weights, columns_for(charges, again))
    assert weighted[0] == pytest.approx(plain[0], rel=1e-12)
    for name, value in weighted[1].items():
        np.testing.assert_allclose(value, plain[1][name], rtol=1e-11, atol=1e-14)


def fit(program, ranks, **options):
    data = columns_for(program, clusters(47))
    options = {"epochs": 2, "validation": Validation(0.2)} | BASE | options
    return train(program, data, world=world_of(ranks), **options)


@pytest.mark.parametrize(
    ("program", "backend"),
    [
        (charges, "numpy"),
        pytest.param(charges, "fused", marks=pytest.mark.full),
        pytest.param(energy, "numpy", marks=pytest.mark.full),
        pytest.param(energy, "fused", marks=pytest.mark.full),
    ],
)
def test_any_number_of_ranks_gives_the_same_bits(program, backend):
    runs = [fit(program, ranks, backend=backend) for ranks in (1, 2, 3, 4, 7)]
    assert len({run.digest for run in runs}) == 1
    histories = [run.report["validation_history"] for run in runs]
    assert all(history == histories[0] for history in histories)
    outputs = runs[0].report["loss_history"]
    assert outputs[-1] < outputs[0]


def test_a_run_resumed_in_the_middle_of_an_epoch_is_the_same(tmp_path):
    checkpoint = Checkpoint(tmp_path / "a", every=1, keep=999)
    whole = fit(charges, 1, epochs=4, checkpoint=checkpoint, callbacks=[settle])
    folder = tmp_path / "b"
    folder.mkdir()
    shutil.copy(tmp_path / "a" / "step-00000004.safetensors", folder)
    checkpoint = Checkpoint(folder, every=1, resume=True)
    resumed = fit(charges, 3, epochs=4, checkpoint=checkpoint)
    assert resumed.report["resumed_from_step"] == 4
    assert resumed.digest == whole.digest


def test_predict_returns_a_list_of_arrays_of_the_samples_lengths():
    data, weights = clusters(70, most=30), start(charges)
    inputs = {name: data[name] for name in SHAPES}
    outputs = predict(charges, weights, inputs)
    assert [len(x) for x in outputs] == [len(r) for r in data["r"]]
    for i in (0, 33, 69):
        alone = {name: ragged(column[i : i + 1]) for name, column in inputs.items()}
        np.testing.assert_allclose(
            outputs[i], predict(charges, weights, alone)[0], rtol=1e-12, atol=1e-14
        )
    energies = predict(energy, weights, inputs)
    assert energies.shape == (70,)


def test_an_objective_takes_ragged_samples():
    data = columns_for(energy, clusters(20))
    function = objective(energy, data)
    value, gradient = function.value_and_gradient(function.start)
    loss, right = loss_and_gradient(energy, function.unflatten(function.start), data)
    assert value == loss
    np.testing.assert_array_equal(gradient, function.flatten(right))


def test_a_call_that_reuses_a_plan_takes_other_lengths():
    weights = start(energy)
    for seed in range(3):
        data = clusters(12, most=5 + 10 * seed, seed=seed)
        loss, _ = loss_and_gradient(energy, weights, columns_for(energy, data))
        assert loss == pytest.approx(
            one_by_one(energy, weights, data, 12)[0], rel=1e-12
        )


def test_two_inputs_of_independent_lengths():
    @program
    def bonds(r, edges):
        ends = r[edges[:, 0]] - r[edges[:, 1]]
        lengths = np.sum(ends * ends, axis=1)
        stretch = np.sum(np.square(lengths - weight("a")), where=present(edges))
        return weight("k") * stretch + np.sum(np.cos(r), where=present(r)[:, None])

    rng = np.random.default_rng(0)
    r = [rng.normal(size=(n, 3)) for n in rng.integers(2, 9, 25)]
    edges = [
        rng.integers(0, len(x), (m, 2)) for x, m in zip(r, range(1, 26), strict=True)
    ]
    weights, t = {"a": 1.5, "k": 0.3}, rng.normal(size=25)
    loss, gradient = loss_and_gradient(
        bonds, weights, {"r": r, "edges": edges}, t, block=4
    )
    values, by_k = [], []
    for x, e in zip(r, edges, strict=True):
        length = np.sum((x[e[:, 0]] - x[e[:, 1]]) ** 2, axis=1)
        by_k.append(np.sum((length - 1.5) ** 2))
        values.append(0.3 * by_k[-1] + np.sum(np.cos(x)))
    errors = t - np.array(values)
    assert loss == pytest.approx(np.mean(errors**2), rel=1e-12)
    assert gradient["k"] == pytest.approx(-2 * np.mean(errors * by_k), rel=1e-12)


def test_blocks_are_sorted_by_length_and_keep_every_row():
    lengths = np.random.default_rng(0).integers(2, 61, 1000)
    rows = np.random.default_rng(1).permutation(1000)[:500]
    made = arranged(rows, [lengths], 16)
    assert sorted(made.rows) == sorted(rows)
    blocks = [made.rows[i : i + 16] for i in range(0, 500, 16)]
    assert made.sizes == [(padded(lengths[each].max()),) for each in blocks]
    pairs = zip(blocks, made.sizes, strict=True)
    padding = sum(len(block) * size for block, (size,) in pairs)
    assert padding < 1.15 * lengths[rows].sum()


def test_few_sizes_and_little_padding():
    lengths = np.arange(1, 10_000)
    sizes = padded(lengths)
    assert (sizes >= lengths).all()
    assert (sizes <= lengths * 9 / 8).all()
    assert len(set(sizes.tolist())) <= 8 * 14
    assert (padded(sizes) == sizes).all()
