"""Inputs that are places in arrays: they stay integers, and must be there."""

# Some readers of a table need none.
# ruff: noqa: ARG005

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtrain import (
    ThreadWorld,
    base_function,
    check,
    loss_and_gradient,
    predict,
    program,
    train,
    weight,
)
from dtrain.errors import DataError
from tests.tolerances import FLOAT64

WORDS, WIDTH, LENGTH, SAMPLES = 7, 3, 4, 37


@program
def bag(words, label):
    """The mean of the words' vectors, and a linear classifier's log-likelihood."""
    E = weight("E", (WORDS, WIDTH), "normal")
    W = weight("W", (5, WIDTH), "normal")
    scores = W @ np.mean(E[words], axis=0)
    return np.log(np.sum(np.exp(scores))) - scores[label]


@pytest.fixture
def data() -> dict[str, Any]:
    rng = np.random.default_rng(10)
    return {
        "words": rng.integers(-WORDS, WORDS, (SAMPLES, LENGTH)),
        "label": rng.integers(0, 5, SAMPLES),
    }


def integers(graph: Any) -> set[str]:
    return {n for n, i in graph.inputs.items() if graph.nodes[i].dtype == "int"}


def test_places_stay_integers_and_numbers_stay_real() -> None:
    @program
    def both(i, j, x):
        return weight("w", (4,))[i] * j + x[j]

    graph = both.trace(x=4)
    assert integers(graph) == {"i", "j"}
    assert integers(bag.trace(words=LENGTH)) == {"words", "label"}
    columns = [np.array([3, 0]), np.array([2, 1]), np.arange(8.0).reshape(2, 4)]
    values = predict(both, {"w": np.arange(4.0)}, columns)
    assert values.tolist() == [3 * 2 + 2, 0 * 1 + 5]


@pytest.mark.parametrize(
    "read",
    [
        lambda x, i, k: x[np.arange(3), i],
        lambda x, i, k: x[i, np.arange(3)],
        lambda x, i, k: x[:, i, np.arange(3)],
        lambda x, i, k: x[..., [0, -1, 1], i],
        lambda x, i, k: x[1, i, [2, 0, 2]],
        lambda x, i, k: x[k, [[0, 1, 2], [2, 1, 0]], i],
        lambda x, i, k: x[[2, 0], k],
        lambda x, i, k: x[np.array(1), k],
        lambda x, i, k: x[None, :, i, [0, 1, 2]],
    ],
)
def test_an_index_from_the_data_beside_a_known_one(read: Callable[..., Any]) -> None:
    rng = np.random.default_rng(12)
    data = {"i": rng.integers(-3, 3, (SAMPLES, 3)), "k": rng.integers(-3, 3, SAMPLES)}
    x = rng.standard_normal((3, 3, 3))
    net = program(lambda i, k: read(weight("x", (3, 3, 3)), i, k))
    expected = [read(x, i, k) for i, k in zip(data["i"], data["k"], strict=True)]
    np.testing.assert_array_equal(predict(net, {"x": x}, data), expected, strict=True)
    summed = program(lambda i, k: np.sum(read(weight("x", (3, 3, 3)), i, k) ** 2))
    assert check(summed, data, weights={"x": x}, loss="mean").passed


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "read",
    [
        lambda w, i: w[i],
        lambda w, i: w[i.astype(int)],
        lambda w, i: np.where(i != 0, w[i], 0.0),
        lambda w, i: np.take(w, i) + 0 * i.reshape(1)[0],
    ],
)
def test_large_places_are_exact(read: Callable[..., Any], dtype: str) -> None:
    @program
    def picked(i):
        return read(weight("w", ((1 << 24) + 4,)), i)

    w = np.zeros((1 << 24) + 4, dtype)
    w[-3:] = 1, 2, 3
    i = np.arange((1 << 24) + 1, (1 << 24) + 4)
    assert predict(picked, {"w": w}, [i]).tolist() == [1, 2, 3]


def test_an_embedding_is_a_product_with_indicators(data: dict[str, Any]) -> None:
    @program
    def dense(hot, mark):
        E = weight("E", (WORDS, WIDTH))
        W = weight("W", (5, WIDTH))
        scores = W @ (np.mean(hot, axis=0) @ E)
        return np.log(np.sum(np.exp(scores))) - mark @ scores

    rng = np.random.default_rng(11)
    weights = {"E": rng.standard_normal((WORDS, WIDTH)), "W": rng.normal(size=(5, 3))}
    loss, gradient = loss_and_gradient(bag, weights, data, loss="mean", block=8)
    hot = {"hot": np.eye(WORDS)[data["words"]], "mark": np.eye(5)[data["label"]]}
    expected, dense_gradient = loss_and_gradient(dense, weights, hot, loss="mean")
    assert loss == pytest.approx(expected, rel=FLOAT64.sums)
    for name in weights:
        np.testing.assert_allclose(
            gradient[name], dense_gradient[name], rtol=0, atol=FLOAT64.sums
        )
    assert check(bag, data, weights=weights, loss="mean").passed


def test_the_same_bits_on_three_ranks(data: dict[str, Any]) -> None:
    def digest(world: Any) -> str:
        run = train(
            bag, data, loss="mean", epochs=2, batch=20, block=4, learning_rate=0.1,
            world=world,
        )  # fmt: skip
        return run.digest

    assert digest(None) == digest(ThreadWorld(3))


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("bad", [WORDS, -WORDS - 1])
def test_a_place_that_is_not_there(bad: int, ranks: int, data: dict[str, Any]) -> None:
    data["words"][20, 2] = bad
    with pytest.raises(DataError, match=rf"test_places.py:\d+: index {bad} is outside"):
        train(
            bag, data, loss="mean", epochs=1, block=4, learning_rate=0.1,
            world=ThreadWorld(ranks),
        )  # fmt: skip


def test_floats_that_are_integers_are_places(data: dict[str, Any]) -> None:
    weights = {"E": np.ones((WORDS, WIDTH)), "W": np.ones((5, WIDTH))}
    expected = predict(bag, weights, data)
    floats = {name: column.astype(float) for name, column in data.items()}
    assert predict(bag, weights, floats).tobytes() == expected.tobytes()
    floats["label"][3] = 0.5
    with pytest.raises(DataError, match=r"row 4 of input 'label' is 0\.5"):
        predict(bag, weights, floats)


@pytest.mark.parametrize(
    "read",
    [
        lambda table, i: table[i],
        lambda table, i: np.where(i != 0, table[i], 0.0),
        lambda table, i: table[i] + table[i.astype(int)],
        lambda table, i: base_function(lambda t, j: t[j])(table, i) + i,
    ],
)
@pytest.mark.parametrize(
    ("column", "words"),
    [
        (np.array([1.0, 1.7]), r"row 2 of input 'i' is 1\.7, .*\.astype\(int\)"),
        (np.array([False, True]), "input 'i' holds truth values, .*np.where"),
    ],
)
def test_what_is_indexed_with_must_be_integers(
    read: Callable[..., Any], column: Any, words: str
) -> None:
    net = program(lambda i: read(weight("table", (3,)), i))
    with pytest.raises(DataError, match=words):
        predict(net, {"table": np.arange(3.0)}, [column])


@pytest.mark.parametrize("bad", [2**63, 2**64 - 1])
@pytest.mark.parametrize("mapped", [False, True])
def test_unsigned_places_do_not_wrap(bad: int, mapped: bool, tmp_path: Path) -> None:
    net = program(lambda i: weight("table", (3,))[i])
    column = np.array([0, 2, 1], np.uint64)
    table = np.array([1.0, 10.0, 100.0])
    assert predict(net, {"table": table}, [column]).tolist() == [1, 100, 10]
    column[1] = bad
    if mapped:
        np.save(tmp_path / "i.npy", column)
        column = np.load(tmp_path / "i.npy", mmap_mode="r")
    with pytest.raises(DataError, match=f"row 2 of input 'i' is {bad}, .* an index"):
        predict(net, {"table": table}, [column])


@pytest.mark.parametrize(
    "read",
    [
        lambda table, x: table[x.astype(int)],
        lambda table, x: x.astype(int) * 2.0,
        lambda table, x: x - x.astype(int),
        lambda table, x: table[x.reshape(1).astype(np.int64)] * x,
        lambda table, x: base_function(lambda t, j: t[j.astype(int)])(table, x),
    ],
)
def test_a_cast_truncates_as_in_numpy(read: Callable[..., Any]) -> None:
    net = program(lambda x: {"y": read(weight("table", (3,)), x)})
    table, column = np.array([1.0, 10.0, 100.0]), np.array([1.7, -0.5, 2.0, -1.2])
    values = predict(net, {"table": table}, [column])
    expected = [read(table, x) for x in column]
    assert values.tolist() == np.array(expected).tolist()
