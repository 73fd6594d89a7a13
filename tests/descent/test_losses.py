"""Losses: closed forms, autograd's gradients, kinks, targets, metrics, ranks."""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from dtrain import ThreadWorld, check, loss_and_gradient, losses, program, train, weight
from dtrain.data.binding import bind
from dtrain.data.readers import open_data
from dtrain.descent.loss import TARGET
from dtrain.descent.loss_graph import loss_graph
from dtrain.errors import DataError, ProgramError, UsageError
from dtrain.problem.columns import columns_of
from dtrain.problem.evaluate import measure
from dtrain.problem.samples import as_samples

SAMPLES, INPUTS, OUTPUTS = 23, 4, 3


@program
def affine(x):
    return weight("W", (OUTPUTS, INPUTS)) @ x + weight("b", OUTPUTS)


@program
def number(x):
    """A program that returns x, for closed forms."""
    return x * weight("one", init=1.0)


def _lse(z):
    top = anp.max(z, axis=-1, keepdims=True)
    return top[..., 0] + anp.log(anp.sum(anp.exp(z - top), axis=-1))


def _huber(e, delta=1.0):
    small = 0.5 * e**2
    return anp.where(anp.abs(e) <= delta, small, delta * (anp.abs(e) - 0.5 * delta))


RNG = np.random.default_rng(5)
X = RNG.standard_normal((SAMPLES, INPUTS))
VALUES = 2 * RNG.standard_normal((SAMPLES, OUTPUTS))
LABELS = RNG.integers(0, OUTPUTS, SAMPLES)
ONE_HOT = np.eye(OUTPUTS)[LABELS]
SHARES = RNG.dirichlet(np.ones(OUTPUTS), SAMPLES)
BITS = RNG.integers(0, 2, (SAMPLES, OUTPUTS))
WEIGHTS = {
    "W": RNG.standard_normal((OUTPUTS, INPUTS)),
    "b": RNG.standard_normal(OUTPUTS),
}

# name: (loss, targets, the textbook's mean loss of outputs z)
TEXTBOOK = {
    "square": ("square", VALUES, lambda z: anp.sum((VALUES - z) ** 2, axis=1)),
    "absolute": ("absolute", VALUES, lambda z: anp.sum(anp.abs(VALUES - z), axis=1)),
    "huber": ("huber", VALUES, lambda z: anp.sum(_huber(VALUES - z), axis=1)),
    "huber 0.3": (
        losses.Huber(delta=0.3),
        VALUES,
        lambda z: anp.sum(_huber(VALUES - z, 0.3), axis=1),
    ),
    "labels": ("cross_entropy", LABELS, lambda z: _lse(z) - anp.sum(ONE_HOT * z, 1)),
    "one-hot": ("cross_entropy", ONE_HOT, lambda z: _lse(z) - anp.sum(ONE_HOT * z, 1)),
    "shares": ("cross_entropy", SHARES, lambda z: _lse(z) - anp.sum(SHARES * z, 1)),
    "binary": (
        "binary_cross_entropy",
        BITS,
        lambda z: (
            -anp.sum(
                BITS * anp.log(1 / (1 + anp.exp(-z)))
                + (1 - BITS) * anp.log(1 / (1 + anp.exp(z))),
                axis=1,
            )
        ),
    ),
}


def test_every_loss_is_in_the_table_and_documents_its_scale():
    tried = {losses.named(loss).name for loss, _, _ in TEXTBOOK.values()}
    assert set(losses.LOSSES) == tried | {"mean"}
    for name, loss in losses.LOSSES.items():
        assert loss.name == name
        assert "/N" in str(type(loss).scale.__doc__)
        assert loss.scale(10) == {"square": -0.2, "mean": 0.1}.get(name, -0.1)


@pytest.mark.parametrize("what", TEXTBOOK)
@pytest.mark.parametrize("block", [None, 5])
def test_loss_and_gradient_are_those_of_the_textbook(what, block):
    loss, targets, formula = TEXTBOOK[what]

    def mean(W, b):
        return anp.mean(formula(X @ W.T + b))

    found, gradient = loss_and_gradient(
        affine, WEIGHTS, X, targets, loss=loss, block=block
    )
    assert found == pytest.approx(mean(**WEIGHTS), rel=1e-13)
    for i, name in enumerate(WEIGHTS):
        expected = autograd.grad(mean, i)(WEIGHTS["W"], WEIGHTS["b"])
        np.testing.assert_allclose(gradient[name], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("what", TEXTBOOK)
@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_pass_the_check_by_differences_and_paths(what, seed):
    loss, targets, _ = TEXTBOOK[what]
    for given in (targets, None):
        found = check(affine, X, given, loss=loss, seed=seed)
        assert found.passed
        assert all(c.path_error is not None for c in found.weights)


@pytest.mark.parametrize("what", TEXTBOOK)
def test_any_number_of_ranks_gives_the_same_bits(what):
    loss, targets, _ = TEXTBOOK[what]
    digests, found = set(), set()
    for ranks in range(1, 6):
        world = ThreadWorld(ranks)
        run = train(
            affine,
            {"x": X, "t": targets},
            loss=loss,
            penalty=losses_penalty,
            epochs=3,
            batch=9,
            block=2,
            learning_rate=0.05,
            world=world,
        )
        digests.add((run.digest, *run.report["loss_history"]))
        bound = as_samples(affine, X, targets)
        found.add(
            world.run(
                lambda rank, run=run, bound=bound: tuple(
                    measure(
                        rank, affine, bound, run.weights, losses.named(loss)
                    ).items()
                )
            )
        )
    assert len(digests) == len(found) == 1
    ((_, *history),) = digests
    assert history[-1] < history[0]


def losses_penalty(weights):
    return 0.01 * np.sum(np.square(weights["W"]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_logits_neither_overflow_nor_lose_digits(dtype):
    z = np.array([[1e4, 0, -1e4], [-1e4, -1e4, -1e4], [0.0, 1e4, 3]])
    identity = {"one": np.ones(())}
    loss, gradient = loss_and_gradient(
        number, identity, z, [0, 1, 0], loss="cross_entropy", dtype=dtype
    )
    assert loss == pytest.approx((0 + np.log(3) + 1e4) / 3, rel=1e-6)
    assert np.isfinite(gradient["one"]).all()
    z = np.array([1e4, -1e4, 1e4, -1e4, 0])
    loss, gradient = loss_and_gradient(
        number, identity, z, [1, 0, 0, 1, 1], loss="binary_cross_entropy", dtype=dtype
    )
    assert loss == pytest.approx((2e4 + np.log(2)) / 5, rel=1e-6)
    assert np.isfinite(gradient["one"]).all()


def test_the_loss_of_almost_certain_classes_keeps_its_digits():
    weights = {"one": np.ones(())}
    loss, _ = loss_and_gradient(
        number, weights, [[40.0]], [1], loss="binary_cross_entropy"
    )
    assert loss == pytest.approx(np.exp(-40), rel=1e-12)


def test_a_logit_of_minus_infinity_adds_no_loss():
    @program
    def masked(x):
        return np.where(np.array([True, True, False]), x * weight("w"), -np.inf)

    for targets in ([1], [[0, 1, 0]]):
        found = loss_and_gradient(
            masked, {"w": 1.0}, [[[1.0, 1.0, 5.0]]], targets, loss="cross_entropy"
        )
        assert found[0] == pytest.approx(np.log(2))
        assert np.isfinite(found[1]["w"])


def test_kinks():
    slope = lambda loss, z, t: float(  # noqa: E731
        loss_and_gradient(number, {"one": 1.0}, [[z]], [t], loss=loss)[1]["one"]
    )
    assert slope("absolute", 2.0, 2.0) == 0.0
    assert slope("absolute", 2.0, 2.5) == -2.0
    for error in (1.0, 1.5):
        assert slope("huber", 2.0, 2.0 + error) == -2.0
        assert slope("huber", 2.0, 2.0 - error) == 2.0
    assert slope("huber", 2.0, 2.25) == -0.5
    flat = loss_and_gradient(
        affine,
        {"W": np.zeros((OUTPUTS, INPUTS)), "b": np.zeros(OUTPUTS)},
        X,
        BITS,
        loss="binary_cross_entropy",
    )[1]
    np.testing.assert_allclose(flat["b"], 0.5 - BITS.mean(axis=0))


def test_check_agrees_where_logits_are_zero():
    zero = {"W": np.zeros((OUTPUTS, INPUTS)), "b": np.zeros(OUTPUTS)}
    for loss, targets in (("binary_cross_entropy", BITS), ("cross_entropy", LABELS)):
        found = check(affine, X, targets, weights=zero, loss=loss)
        assert all(c.passed and c.path_error < 1e-12 for c in found.weights)


def test_labels_and_one_hot_give_the_same_bits():
    found = [
        loss_and_gradient(affine, WEIGHTS, X, t, loss="cross_entropy")
        for t in (LABELS, LABELS.astype(np.uint8), LABELS.astype(float), ONE_HOT)
    ]
    for loss, gradient in found[1:]:
        assert loss == found[0][0]
        for name in WEIGHTS:
            assert (gradient[name] == found[0][1][name]).all()


@pytest.mark.parametrize("what", TEXTBOOK)
def test_the_fused_backend_computes_the_same(what, monkeypatch, tmp_path):
    pytest.importorskip("llvmlite")
    monkeypatch.setenv("DTRAIN_CACHE", str(tmp_path))
    loss, targets, _ = TEXTBOOK[what]
    options = {"loss": loss, "penalty": losses_penalty}
    here = loss_and_gradient(affine, WEIGHTS, X, targets, **options)
    fused = loss_and_gradient(affine, WEIGHTS, X, targets, backend="fused", **options)
    assert fused[0] == pytest.approx(here[0], rel=1e-13)
    for name in WEIGHTS:
        np.testing.assert_allclose(fused[1][name], here[1][name], rtol=1e-12)


def test_labels_stay_integers():
    samples = as_samples(affine, X, LABELS.astype(float))
    joined = loss_graph(
        affine.trace(x=INPUTS), losses.named("cross_entropy"), {TARGET: ()}
    )
    assert joined.graph.nodes[joined.graph.inputs[TARGET]].dtype == "int"
    columns = columns_of(samples, joined.graph, "float32")
    assert (columns[TARGET].dtype, columns["x"].dtype) == (np.intp, np.float32)


def test_a_sequence_of_classes():
    @program
    def twice(x):
        return np.stack([affine(x), np.sin(affine(x)), x[:OUTPUTS]])

    labels = RNG.integers(0, OUTPUTS, (SAMPLES, 3))
    one_hot = np.eye(OUTPUTS)[labels]
    for targets in (labels, one_hot):
        loss, _ = loss_and_gradient(twice, WEIGHTS, X, targets, loss="cross_entropy")
        z = X @ WEIGHTS["W"].T + WEIGHTS["b"]
        outputs = np.stack([z, np.sin(z), X[:, :OUTPUTS]], axis=1)
        expected = (_lse(outputs) - (one_hot * outputs).sum(axis=-1)).sum(axis=1)
        assert loss == pytest.approx(expected.mean(), rel=1e-13)
        bound = as_samples(twice, X, targets)
        found = ThreadWorld(3).run(
            lambda world, bound=bound: measure(
                world, twice, bound, WEIGHTS, losses.named("cross_entropy")
            )
        )
        assert found["accuracy"] == (outputs.argmax(axis=-1) == labels).mean()


def changed(targets, value, row=6):
    return np.concatenate([targets[:row], [value], targets[row + 1 :]])


BAD_TARGETS = {
    "a label too high": ("cross_entropy", changed(LABELS, 3), "row 7.*is 3.*0 to 2"),
    "a negative label": ("cross_entropy", changed(LABELS, -1), "row 7.*is -1.*0 to 2"),
    "half a label": ("cross_entropy", changed(LABELS, 0.5), "is 0.5.*integers"),
    "no label": ("cross_entropy", changed(LABELS, np.nan), "row 7.*is nan"),
    "two labels": ("cross_entropy", changed(ONE_HOT, [1, 1, 0]), "row 7.*sum to 1"),
    "a share of 2": ("cross_entropy", changed(ONE_HOT, [2, -1, 0]), "from 0 to 1"),
    "labels in a matrix": (
        "cross_entropy",
        LABELS[:, None],
        "labels.*one-hot",
    ),
    "a bit of 2": ("binary_cross_entropy", 2 * BITS, "is 2: targets.*from 0 to 1"),
    "too few bits": ("binary_cross_entropy", BITS[:, :1], r"shape \(1,\)"),
}


@pytest.mark.parametrize("what", BAD_TARGETS)
def test_invalid_targets_are_reported_with_their_row(what):
    loss, targets, pattern = BAD_TARGETS[what]
    with pytest.raises(DataError, match=pattern):
        loss_and_gradient(affine, WEIGHTS, X, targets, loss=loss)
    with pytest.raises(DataError, match=pattern):
        train(
            affine,
            {"x": X, "t": targets},
            loss=loss,
            epochs=1,
            learning_rate=0.1,
            world=ThreadWorld(3),
        )
    with pytest.raises(DataError, match=pattern):
        check(affine, X, targets, loss=loss)


def test_an_invalid_label_in_a_file_is_reported_with_line_and_column(tmp_path):
    path = tmp_path / "data.csv"
    rows = "".join(f"{x},{y},1\n" for x, y in X[:5, :2])
    path.write_text(f"x,y,class\n{rows}0.5,0.5,1.5\n")
    samples = bind(open_data(path), ["x", "y"], "class", {})

    @program
    def pair(x, y):
        return np.stack([weight("a") * x, weight("b") * y])

    weights = {"a": 1.0, "b": 1.0}
    with pytest.raises(DataError, match=r"row 6 \(line 7\), column 'class' is 1.5"):
        ThreadWorld(2).run(
            lambda world: measure(
                world, pair, samples, weights, losses.named("cross_entropy")
            )
        )


def test_labels_in_memory_mapped_files(tmp_path):
    folder = tmp_path / "columns"
    folder.mkdir()
    np.save(folder / "x.npy", X)
    np.save(folder / "t.npy", LABELS.astype(np.int16))
    settings = {"loss": "cross_entropy", "epochs": 2, "learning_rate": 0.1}
    run = train(affine, folder, batch=7, **settings)
    assert (
        run.digest == train(affine, {"x": X, "t": LABELS}, batch=7, **settings).digest
    )


@pytest.mark.parametrize("shape", [(), (1,), (2, 1)])
def test_cross_entropy_needs_two_classes(shape):
    with pytest.raises(ProgramError, match="binary_cross_entropy"):
        losses.named("cross_entropy").target(shape, None)


def test_the_loss_mean_refuses_targets():
    @program
    def distance(x):
        return np.sum(np.square(x - weight("centre", (3,))))

    x, targets = np.ones((4, 3)), np.ones(4)
    with pytest.raises(UsageError, match="give no targets, or make them an input"):
        loss_and_gradient(distance, {"centre": np.ones(3)}, x, targets, loss="mean")
    columns = {"x": x, "t": targets}
    options = {"loss": "mean", "epochs": 1, "learning_rate": 0.1}
    train(distance, columns, **options)  # an unused column is not a target
    with pytest.raises(UsageError, match="'t', but nothing is compared"):
        train(distance, columns, target="t", **options)


@pytest.mark.parametrize("delta", [0, -1, np.inf, np.nan])
def test_huber_refuses_an_invalid_delta(delta):
    with pytest.raises(UsageError, match="delta"):
        losses.Huber(delta)


def test_a_loss_is_a_name_or_a_loss():
    for loss in ("nope", None, 3):
        with pytest.raises(UsageError, match="loss"):
            losses.named(loss)


def found_by(program_, x, targets, weights, loss):
    bound = as_samples(program_, x, targets)
    found, *others = (
        ThreadWorld(ranks).run(
            lambda world: measure(world, program_, bound, weights, losses.named(loss))
        )
        for ranks in (1, 2, 3, 5)
    )
    assert all(other == found for other in others)
    return found


@pytest.mark.parametrize("loss", ["square", "absolute", "huber"])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_rmse_and_r2(loss, offset):
    weights = WEIGHTS | {"b": WEIGHTS["b"] + offset}
    targets = VALUES + offset
    found = found_by(affine, X, targets, weights, loss)
    squares = (targets - X @ weights["W"].T - weights["b"]) ** 2
    variance = ((VALUES - VALUES.mean(axis=0)) ** 2).sum()
    assert found["rmse"] == pytest.approx(np.sqrt(squares.mean()), rel=1e-9)
    assert found["r2"] == pytest.approx(1 - squares.sum() / variance, rel=1e-8)
    assert "accuracy" not in found


def test_equal_targets_have_no_r2():
    targets = np.full((SAMPLES, OUTPUTS), 0.1)
    found = found_by(affine, X, targets, WEIGHTS, "square")
    assert "r2" not in found
    assert found["rmse"] > 0
    assert found_by(affine, X[:1], VALUES[:1], WEIGHTS, "square").get("r2") is None


@pytest.mark.parametrize(
    ("loss", "targets", "right"),
    [
        ("cross_entropy", LABELS, lambda z: z.argmax(axis=1) == LABELS),
        ("cross_entropy", ONE_HOT, lambda z: z.argmax(axis=1) == LABELS),
        ("square", ONE_HOT, lambda z: z.argmax(axis=1) == LABELS),
        ("binary_cross_entropy", BITS, lambda z: (z > 0) == BITS),
    ],
)
def test_accuracy(loss, targets, right):
    found = found_by(affine, X, targets, WEIGHTS, loss)
    assert found["accuracy"] == right(X @ WEIGHTS["W"].T + WEIGHTS["b"]).mean()
    assert "rmse" not in found
    assert "r2" not in found


def test_probabilities_have_no_accuracy():
    found = found_by(affine, X, SHARES, WEIGHTS, "binary_cross_entropy")
    assert "accuracy" not in found
