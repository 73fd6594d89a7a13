"""Random layers of scalars, wired edge by edge: some regular, some not."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dtrain import layers, program, weight
from dtrain.tracing.trace import Program

INPUTS = 6
_ACTIVATIONS: list[Callable[[Any], Any]] = [
    np.tanh,
    np.sin,
    layers.sigmoid,
    layers.relu,
    lambda a: np.where(a > 0, a, 0.1 * a),
    lambda a: a,
]


def wired(seed: int) -> Program:
    """A program of one vector, two scalars, and some layers that read any before."""
    rng = random.Random(seed)  # noqa: S311  (no secret)

    @program
    def wired(x: Any, p: Any, q: Any) -> Any:
        state = rng.getstate()
        try:
            return _network(rng, [x[i] for i in range(INPUTS)] + [p, q])
        finally:
            rng.setstate(state)  # the same when it is traced again

    return wired


def _network(rng: random.Random, inputs: list[Any]) -> Any:
    values, last = list(inputs), list(inputs)
    for layer in range(rng.randint(1, 3)):
        pool = values if rng.random() < 0.3 else last
        last = _layer(rng, f"layer{layer}", pool)
        values += last
    if rng.random() < 0.5:
        return np.stack(rng.sample(last, min(4, len(last))))
    return _sum(rng, [value * value for value in last])


def _layer(rng: random.Random, name: str, pool: Sequence[Any]) -> list[Any]:
    width = rng.choice((1, 3, 8, 20))
    density = rng.choice((1.0, 1.0, 0.5, 0.1))
    factor = rng.choice((_own, _own, _shared, _element, _any))
    activations = [rng.choice(_ACTIVATIONS)] * 2
    if rng.random() < 0.3:
        activations = _ACTIVATIONS
    bias, residual = rng.random(), rng.random() < 0.3
    neurons = []
    for i in range(width):
        read = [j for j in range(len(pool)) if rng.random() < density] or [0]
        terms = []
        for j in read:
            product = factor(rng, name, i, j) * pool[j]
            terms.append(-product if rng.random() < 0.1 else product)
        if bias < 0.6:
            terms.append(weight(f"{name}.b{i}"))
        elif bias < 0.8:
            terms.append(rng.choice((0.5, np.exp(weight(f"{name}.b{i}")))))
        if residual:
            terms.append(pool[i % len(pool)])
        neurons.append(rng.choice(activations)(_sum(rng, terms)))
    return neurons


def _own(rng: random.Random, name: str, i: int, j: int) -> Any:
    del rng
    return weight(f"{name}.w{i}.{j}")


def _shared(rng: random.Random, name: str, i: int, j: int) -> Any:
    del rng
    return weight(f"{name}.shared{(i - j) % 3}")


def _element(rng: random.Random, name: str, i: int, j: int) -> Any:
    del rng
    return weight(f"{name}.W", (20, 70))[i, j]


def _any(rng: random.Random, name: str, i: int, j: int) -> Any:
    return rng.choice(
        (
            lambda: 0.25 * (j - i),
            lambda: weight(f"{name}.w{i}.{j}"),
            lambda: np.sin(weight(f"{name}.w{i}.{j}")),
            lambda: weight(f"{name}.s") * weight(f"{name}.w{i}.{j}"),
        )
    )()


def _sum(rng: random.Random, terms: list[Any]) -> Any:
    """Terms added up in any order of additions."""
    terms = list(terms)
    while len(terms) > 1:
        at = 0 if rng.random() < 0.8 else rng.randrange(len(terms) - 1)
        a, b = terms[at], terms.pop(at + 1)
        terms[at] = a - b if rng.random() < 0.1 else a + b
    return terms[0]
