"""Weighted fits and metrics against scikit-learn's, on its toy data."""

import numpy as np
import pytest

from dtrain import evaluate, objective, predict, program, train, weight

sklearn = pytest.importorskip("sklearn", reason="scikit-learn is missing (--peers)")
pytestmark = pytest.mark.peers
from scipy.optimize import minimize  # noqa: E402
from sklearn import datasets, linear_model, metrics, preprocessing  # noqa: E402

ALPHA = 3.0


def scaled(load, seed):
    x, t = load(return_X_y=True)
    x = preprocessing.StandardScaler().fit_transform(x)
    return x, t, np.random.default_rng(seed).uniform(0, 3, len(t))


def optimum(each, data, **options):
    f = objective(each, data, target="t", sample_weight="w", **options)
    start, given = f.start, {"method": "BFGS", "options": {"gtol": 1e-9}}
    found = minimize(f.value_and_gradient, start, jac=True, **given)
    return f, found.x, found.fun


def linear(n):
    @program
    def each(x):
        return weight("slope", n, "zeros") @ x + weight("offset", (), 0.0)

    return each


def logits(classes, n):
    @program
    def each(x):
        return weight("slope", (classes, n), "zeros") @ x + weight("offset", classes)

    return each


def of_slope(factor):
    return lambda weights: factor * np.sum(np.square(weights["slope"]))


@pytest.mark.parametrize("alpha", [0.0, ALPHA])
def test_weighted_least_squares_and_ridge(alpha):
    x, t, w = scaled(datasets.load_diabetes, 0)
    each, data = linear(x.shape[1]), {"x": x, "t": t, "w": w}
    penalty = of_slope(alpha / w.sum()) if alpha else None
    f, best, value = optimum(each, data, penalty=penalty)
    peer = linear_model.Ridge(alpha=alpha, tol=1e-12).fit(x, t, sample_weight=w)
    right = f.value(f.flatten({"slope": peer.coef_, "offset": peer.intercept_}))
    assert value == pytest.approx(right, rel=1e-6)
    weights = f.unflatten(best)
    found = evaluate(each, weights, data, target="t", sample_weight="w")
    outputs = predict(each, weights, [x])
    square = metrics.mean_squared_error(t, outputs, sample_weight=w)
    assert found["rmse"] == pytest.approx(np.sqrt(square), rel=1e-12)
    r2 = metrics.r2_score(t, outputs, sample_weight=w)
    assert found["r2"] == pytest.approx(r2, rel=1e-12)


@pytest.mark.parametrize("name", ["breast_cancer", "iris", "wine"])
def test_balanced_logistic_regression(name):
    x, t, w = scaled(getattr(datasets, f"load_{name}"), 1)
    count = t.max() + 1
    two = count == 2
    each = linear(x.shape[1]) if two else logits(count, x.shape[1])
    loss = "binary_cross_entropy" if two else "cross_entropy"
    factors = w.sum() / (count * np.bincount(t, weights=w))
    data = {"x": x, "t": t, "w": w * factors[t]}
    penalty = of_slope(1 / (2 * data["w"].sum()))
    f, best, value = optimum(each, data, loss=loss, penalty=penalty)
    peer = linear_model.LogisticRegression(
        tol=1e-10, max_iter=10_000, class_weight="balanced"
    ).fit(x, t, sample_weight=w)
    shape = (0,) if two else slice(None)
    right = f.value(
        f.flatten({"slope": peer.coef_[shape], "offset": peer.intercept_[shape]})
    )
    assert value == pytest.approx(right, rel=1e-6)
    weights = f.unflatten(best)
    # At rate 0 an epoch reports the loss at the first weights.
    run = train(
        each,
        {"x": x, "t": t, "w": w},
        epochs=1,
        learning_rate=0.0,
        loss=loss,
        target="t",
        sample_weight="w",
        class_weight="balanced",
        penalty=penalty,
        weights=weights,
        dtype="float64",
    )
    assert run.report["loss"] == pytest.approx(value, rel=1e-12)
    outputs = predict(each, weights, [x])
    labels = outputs > 0 if two else np.argmax(outputs, axis=1)
    found = evaluate(each, weights, data, loss=loss, target="t", sample_weight="w")
    right = metrics.accuracy_score(t, labels, sample_weight=data["w"])
    assert found["accuracy"] == pytest.approx(right, rel=1e-12)
