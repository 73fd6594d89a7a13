"""Contractions: every pattern of labels, on views of every kind, against einsum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from dtrain import predict
from dtrain.functions.contraction import contract
from tests.functions.slopes import program_of
from tests.tolerances import FLOAT64

SAMPLES = 3
SIZES = (1, 2, 3, 4, 0)
KINDS = ("sw", "ws", "ss", "ww")


def pattern(rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Labels: some of both inputs and the output, of one, and of the inputs alone."""
    roles = [rng.integers(0, limit) for limit in (2, 3, 3, 3)]
    numbers = iter(range(12))
    both, rows, columns, summed = ([next(numbers) for _ in range(n)] for n in roles)
    la, lb, ly = both + rows + summed, both + columns + summed, both + rows + columns
    return tuple(tuple(map(int, rng.permutation(each))) for each in (la, lb, ly))


def viewed(kind: str, shape: tuple[int, ...]) -> tuple[tuple[int, ...], Any]:
    """What shape to store, and how to see it in the shape that is asked for."""
    rank = len(shape)
    return {
        "whole": (shape, lambda x: x),
        "sliced": (
            tuple(2 * n for n in shape),
            lambda x: x[(slice(None, None, 2),) * rank],
        ),
        "reversed": (shape, lambda x: x[(slice(None, None, -1),) * rank]),
        "transposed": (shape[::-1], np.transpose),
        "reshaped": ((math.prod(shape),), lambda x: np.reshape(x, shape)),
        "stretched": (shape[1:], lambda x: np.broadcast_to(x, shape)),
    }[kind]


VIEWS = ("whole", "sliced", "reversed", "transposed", "reshaped", "stretched")


@pytest.mark.parametrize("seed", range(150))
def test_random_patterns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    la, lb, ly = pattern(rng)
    # Mostly proper sizes; at times an axis of 1 or none at all.
    sizes = rng.choice(SIZES, size=12, p=[0.15, 0.3, 0.3, 0.2, 0.05])
    shapes = [tuple(int(sizes[i]) for i in labels) for labels in (la, lb)]
    kinds = rng.choice(VIEWS, size=2)
    (sa, see_a), (sb, see_b) = map(viewed, kinds, shapes)
    over = bool(rng.integers(2))
    more = {"over_block": True} if over else {}

    def call(a: Any, b: Any) -> Any:
        return contract(see_a(a), see_b(b), labels=(la, lb, ly), **more)

    for which in KINDS:
        stored = [
            rng.standard_normal((SAMPLES, *shape) if kind == "s" else shape)
            for kind, shape in zip(which, (sa, sb), strict=True)
        ]
        columns = {"c": np.ones(SAMPLES)}
        weights: dict[str, Any] = {"t": 0.0}
        for i, (kind, x) in enumerate(zip(which, stored, strict=True)):
            if kind == "s":
                columns |= {f"x{i}": x, f"d{i}": np.zeros(x.shape)}
            else:
                weights[f"w{i}"] = x
        values = predict(
            program_of(call, (sa, sb), which, scalar=False), weights, columns
        )
        rows = []
        for s in range(SAMPLES):
            a, b = (
                see(x[s] if kind == "s" else x)
                for see, x, kind in zip((see_a, see_b), stored, which, strict=True)
            )
            rows.append(np.einsum(a, la, b, lb, ly))
        expected = np.asarray(rows)
        if over:
            expected = np.broadcast_to(expected.sum(axis=0), expected.shape)
        np.testing.assert_allclose(
            values, expected, rtol=FLOAT64.sums, atol=FLOAT64.sums, strict=True
        )
