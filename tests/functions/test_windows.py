"""Convolution and pooling against loops over every window."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dtrain import check, layers, loss_and_gradient, predict, program, weight
from dtrain.errors import ProgramError
from tests.tolerances import FLOAT64

SAMPLES = 3


def looped(
    x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    """One sample's convolution, one product at a time."""
    filters, deep, *size = kernel.shape
    x = np.pad(x, [(0, 0), *((p, p) for p in padding)])
    space = [
        (n - g * (k - 1) - 1) // s + 1
        for n, k, s, g in zip(x.shape[1:], size, stride, dilation, strict=True)
    ]
    y = np.zeros((filters, *space))
    for f, *at in itertools.product(range(filters), *map(range, space)):
        first = f // (filters // groups) * deep
        for c, *j in itertools.product(range(deep), *map(range, size)):
            place = [
                i * s + k * g
                for i, s, k, g in zip(at, stride, j, dilation, strict=True)
            ]
            y[(f, *at)] += x[(first + c, *place)] * kernel[(f, c, *j)]
    return y


@pytest.mark.parametrize(
    ("x", "kernel", "stride", "padding", "dilation", "groups"),
    [
        ((1, 5), (1, 1, 2), (1,), (0,), (1,), 1),
        ((2, 8), (3, 2, 3), (2,), (1,), (1,), 1),
        ((4, 9), (6, 2, 2), (1,), (2,), (3,), 2),
        ((1, 4, 5), (2, 1, 3, 2), (1, 1), (0, 0), (1, 1), 1),
        ((3, 6, 7), (4, 3, 3, 3), (2, 1), (1, 2), (1, 2), 1),
        ((4, 5, 5), (4, 1, 2, 2), (1, 2), (1, 0), (2, 1), 4),
        ((2, 3, 3), (5, 2, 1, 1), (1, 1), (0, 0), (1, 1), 1),
        ((2, 3, 3, 3), (2, 2, 2, 2, 2), (1, 1, 1), (0, 0, 0), (1, 1, 1), 1),
    ],
)
def test_convolution(
    x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> None:
    @program
    def convolved(x):
        return layers.convolution(
            x,
            weight("K", kernel, "normal"),
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )

    rng = np.random.default_rng(12)
    samples, filters = rng.standard_normal((SAMPLES, *x)), rng.standard_normal(kernel)
    values = predict(convolved, {"K": filters}, [samples])
    expected = [
        looped(each, filters, stride, padding, dilation, groups) for each in samples
    ]
    np.testing.assert_allclose(values, expected, rtol=0, atol=FLOAT64.sums)
    assert check(convolved, [samples]).passed


@pytest.mark.parametrize(
    ("pool", "reduce"), [(layers.max_pool, np.max), (layers.mean_pool, np.mean)]
)
@pytest.mark.parametrize(("size", "stride"), [(2, None), ((3, 2), (1, 2)), (1, 1)])
def test_pooling(
    pool: Callable[..., Any], reduce: Callable[..., Any], size: Any, stride: Any
) -> None:
    @program
    def pooled(x):
        return pool(x * weight("w", (2, 5, 4), "ones"), size, stride)

    samples = np.random.default_rng(13).standard_normal((SAMPLES, 2, 5, 4))
    k, n = (size, size) if isinstance(size, int) else size
    s, t = (k, n) if stride is None else (stride, stride) if stride == 1 else stride
    expected = np.array(
        [
            [
                reduce(samples[:, :, i : i + k, j : j + n], axis=(2, 3))
                for j in range(0, 5 - n, t)
            ]
            for i in range(0, 6 - k, s)
        ]
    )
    values = predict(pooled, {"w": np.ones((2, 5, 4))}, [samples])
    np.testing.assert_allclose(
        values, np.moveaxis(expected, (0, 1), (2, 3)), rtol=FLOAT64.value
    )
    assert check(pooled, [samples]).passed


def test_the_first_of_equal_elements_receives_the_adjoint() -> None:
    @program
    def pooled(x):
        return np.sum(layers.max_pool(weight("w", (1, 4)), 2, 1)) * x

    w = np.array([[1.0, 2, 2, 1]])
    _, gradient = loss_and_gradient(pooled, {"w": w}, [np.ones(1)], loss="mean")
    assert gradient["w"].tolist() == [[0, 2, 1, 0]]


def test_a_convolutional_layer_keeps_the_space() -> None:
    @program
    def net(x):
        h = layers.convolutional(x[None], 4, 3, name="a", padding="same")
        return layers.convolutional(np.tanh(h), 2, (4, 2), name="b", padding="same")

    graph = net.trace(x=(6, 5))
    assert graph.nodes[graph.output].shape == (2, 6, 5)
    assert {name: spec.shape for name, spec in graph.specs.items()} == {
        "a.W": (4, 1, 3, 3),
        "a.b": (4,),
        "b.W": (2, 4, 4, 2),
        "b.b": (2,),
    }
    samples = np.random.default_rng(14).standard_normal((SAMPLES, 6, 5))
    assert check(net, [samples]).passed


@pytest.mark.parametrize(
    ("shape", "more", "words"),
    [
        ((5,), {}, r"layer 'a' takes \(channels, \*space\)"),
        ((1, 2), {}, r"windows.*no window of 3 fits an axis of 2"),
        ((3, 9), {"groups": 2}, "layer 'a'.*in 2 groups do not fit"),
        ((2, 9), {"stride": (1, 1)}, r"stride \(1, 1\) is for other than 1"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape: Any, more: Any, words: str) -> None:
    @program
    def net(x):
        return layers.convolutional(x, 4, 3, name="a", **more)

    with pytest.raises(ProgramError, match=rf"test_windows.py:\d+: .*{words}"):
        net.trace(x=shape)
