"""Layout, Weights and GradientVector: offsets, digests, assignment, sums."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from dtrain import loss_and_gradient, program, weight
from dtrain.errors import UsageError
from dtrain.gradient.layout import Layout
from dtrain.gradient.vector import GradientVector, Weights

SHAPES = {"b": (3,), "a.W": (2, 3), "z": (), "a": (0,)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layout(dtype: str) -> None:
    layout = Layout.of(SHAPES, dtype)
    assert list(layout.shapes) == ["a", "a.W", "b", "z"]
    assert layout.offsets == {"a": 0, "a.W": 0, "b": 6, "z": 9}
    assert layout.count == 10
    assert layout.size * layout.dtype.itemsize % 64 == 0
    assert layout.size - layout.count < 64 // layout.dtype.itemsize
    views = layout.views(np.arange(layout.size, dtype=dtype))
    assert views["a.W"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert views["z"] == 9


def test_an_empty_layout() -> None:
    layout = Layout.of({}, "float32")
    assert (layout.count, layout.size) == (0, 0)
    assert GradientVector(layout).finite()


def test_the_digest_of_a_layout_is_that_of_names_shapes_and_dtype() -> None:
    digest = Layout.of(SHAPES, "float32").digest
    assert digest == Layout.of(dict(reversed(SHAPES.items())), "float32").digest
    others = [
        Layout.of(SHAPES, "float64"),
        Layout.of({**SHAPES, "z": (1,)}, "float32"),
        Layout.of({**SHAPES, "y": ()}, "float32"),
        Layout.of(SHAPES, "float32", metrics=1),
    ]
    assert len({digest, *(other.digest for other in others)}) == 5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_digest_of_weights_is_the_contracts(dtype: str) -> None:
    # Sorted names; each as name, NUL, dtype.str, NUL, shape, NUL, bytes.
    values = {
        "é": np.array([[1.5, -2.0]], dtype),
        "W": np.array(0.25, dtype),
        "b": np.arange(3, dtype=dtype),
    }
    size = np.dtype(dtype).itemsize
    expected = hashlib.sha256()
    for name, shape in (("W", b""), ("b", b"3"), ("é", b"1,2")):
        expected.update(name.encode("utf-8") + b"\0<f%d\0" % size + shape + b"\0")
        expected.update(values[name].astype(f"<f{size}").tobytes("C"))
    weights = Weights(Layout.of({n: v.shape for n, v in values.items()}, dtype))
    weights.assign(values)
    assert weights.digest == expected.hexdigest()


def test_assigning_weights() -> None:
    weights = Weights(Layout.of({"a": (2,), "b": ()}, "float32"))
    version = weights.version
    weights.assign({"b": 3, "a": np.array([1.0, 2.0])})
    assert weights.version > version
    assert weights.flat[:3].tolist() == [1, 2, 3]
    copies = weights.copies()
    weights.flat[...] = 0
    assert copies["a"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"a": np.ones(2)}, "'b' is missing"),
        ({"a": np.ones(2), "b": 1, "c": 1}, "'c' is no weight of the program"),
        ({"a": np.ones(3), "b": 1}, r"'a' has shape \(3,\).*\(2,\)"),
        ({"a": np.ma.array([1, 2], mask=[0, 1]), "b": 1}, "'a' has masked elements"),
        ({"a": [1, -1e39], "b": 1}, "'a' is too large for float32"),
    ],
)
def test_weights_that_do_not_fit(values: dict[str, object], says: str) -> None:
    weights = Weights(Layout.of({"a": (2,), "b": ()}, "float32"))
    with pytest.raises(UsageError, match=says):
        weights.assign(values)
    assert not weights.flat.any()


def test_scaling_does_not_change_the_tail() -> None:
    vector = GradientVector(Layout.of({"a": (2,)}, "float64", metrics=1))
    vector.values["a"][...] = [1, 2]
    vector.tail[...] = [10, 4, 3]
    vector.scale(-0.5)
    assert vector.values["a"].tolist() == [-0.5, -1]
    assert (vector.loss, vector.samples, vector.metrics.tolist()) == (2.5, 4, [3.0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_finite(bad: float) -> None:
    vector = GradientVector(Layout.of({"a": (3,)}, "float32"))
    vector.values["a"][...] = 3e38  # its square overflows, but it is finite
    assert vector.finite()
    vector.values["a"][1] = bad
    assert not vector.finite()
    vector.values["a"][1] = 0
    vector.tail[0] = bad
    assert not vector.finite()


def test_a_weight_that_nothing_depends_on_has_the_derivative_zero() -> None:
    @program
    def partly(x):
        weight("unused", (2, 2))
        return weight("w") * x + np.sign(weight("stepped"))

    weights = {"unused": np.ones((2, 2)), "w": 2.0, "stepped": 1.0}
    _, gradient = loss_and_gradient(partly, weights, [np.ones(3)], loss="mean")
    assert gradient["unused"].tolist() == [[0, 0], [0, 0]]
    assert gradient["stepped"] == 0
    assert gradient["w"] == 1
