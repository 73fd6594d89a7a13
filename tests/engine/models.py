"""Programs that together use every kernel and every kind of step."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtrain import layers, program, weight
from dtrain.descent.loss import TARGET
from dtrain.descent.loss_graph import LossGraph, loss_graph
from dtrain.descent.losses import SquareError
from dtrain.engine.engine import BACKENDS
from dtrain.engine.execution.executor import execute
from dtrain.engine.execution.models import Model as Execution
from dtrain.engine.execution.numpy_backend import BoundPlan
from dtrain.engine.execution.pool import Pool
from dtrain.engine.lowering.lower import plan
from dtrain.functions.base import Shape
from dtrain.gradient.vector import Weights
from dtrain.tracing.trace import Program


@program
def mlp(x):
    """Matrix times vector, and its two adjoints."""
    hidden = np.tanh(layers.dense(x, 7, name="hidden"))
    return layers.dense(hidden, 3, name="output")


@program
def shared(x):
    """One matrix three times, from both sides."""
    W = weight("W", (6, 6))
    return np.sin(W @ np.tanh(W @ x)) @ W


@program
def matrices(m):
    """A sample that is a matrix, between weights."""
    y = weight("A", (3, 4)) @ m @ weight("B", (5, 2))
    return y + (m.T @ weight("C", (4, 2))[::-1])[1:4] * np.array([1.0, -2.0])


@program
def attention(m):
    """Products of what varies by sample with itself, and softmax."""
    q, k = m @ weight("Q", (5, 3)), m @ weight("K", (5, 3))
    s = q @ k.T
    p = np.exp(s - np.max(s, axis=1, keepdims=True))
    return (p / np.sum(p, axis=1, keepdims=True)) @ m


@program
def pieces(x):
    """Slices, gathers, joins, masks, products, extremes."""
    w = weight("w", (6,))
    y = np.concatenate([x[::-2] * w[1:4], x[[0, 0, 5]] - w[[2, 1, 1]]])
    y = np.where(y > 0, y, 0) + np.where(w > 0.1, 0, x) + np.where(x > w, w * w, x)
    return np.stack([np.max(y), np.prod(y[:3]), np.min(y * w), np.dot(y, x)])


@program
def recurrent(m):
    """The same weights at every step."""
    h = weight("h", (3,))
    for row in m:
        h = np.tanh(weight("W", (3, 3)) @ h + weight("U", (3, 5)) @ row)
    return h * np.exp(weight("scale"))


@program
def outer(x):
    """Outer products, batched products, sums over several axes."""
    y = np.outer(x, weight("w", (4,))) * np.outer(weight("v", (6,)), np.ones(4))
    z = np.stack([y, np.sin(y)])
    return np.sum(z @ weight("T", (2, 4, 3)), axis=(0, 1)) + np.vecdot(y.T, x)[:3]


@program
def scalars(x):
    """Elementwise scalars, as in the lecture."""
    a = weight("a") * x[0]
    b = np.sin(a) + x[1]
    return np.tanh(weight("b") * b) * layers.sigmoid(weight("c") * b)


@program
def irregular(x):
    """A long graph of scalars with skips and shared weights: many steps are alike."""
    rng = random.Random(2)  # noqa: S311  (no secret)
    values = [x[i] for i in range(6)]
    for _ in range(60):
        a, b = rng.choice(values[-9:]), rng.choice(values)
        w = weight(f"w{rng.randrange(20)}")
        unary = (np.tanh, np.sin, np.cos, np.square, layers.sigmoid)
        values.append(rng.choice(unary)(w * a) if rng.random() < 0.6 else a * b - w)
    return np.tanh(sum(values[-9:]))


@program
def edges(x):
    """Neurons edge by edge: of all values, of some, and of all again."""
    first = [np.tanh(_neuron("a", i, list(enumerate(x)))) for i in range(12)]
    some = [[(j, v) for j, v in enumerate(first) if (i + j) % 3] for i in range(9)]
    second = [np.sin(_neuron("b", i, read)) for i, read in enumerate(some)]
    return np.stack([_neuron("c", i, list(enumerate(second))) for i in range(3)])


def _neuron(name, i, values):
    return sum(weight(f"{name}{i}.{j}") * v for j, v in values) + weight(f"{name}{i}")


@program
def places(x):
    """Elements of weights in other orders: all of them, a few, some twice."""
    a, b, c = weight("a", (6,)), weight("b", (6,)), weight("c", (6,))
    y = a[[3, 0, 1, 2, 5, 4]] * x + np.concatenate([b[[4, 0, 3]], c[[1, 1, 4]]])
    return np.sin(y)[[5, 3, 1]] * b[[1, 2, 5]]


MODELS: dict[str, tuple[Program, dict[str, Shape]]] = {
    "mlp": (mlp, {"x": (6,)}),
    "shared": (shared, {"x": (6,)}),
    "matrices": (matrices, {"m": (4, 5)}),
    "attention": (attention, {"m": (4, 5)}),
    "pieces": (pieces, {"x": (6,)}),
    "recurrent": (recurrent, {"m": (4, 5)}),
    "outer": (outer, {"x": (6,)}),
    "scalars": (scalars, {"x": (6,)}),
    "irregular": (irregular, {"x": (6,)}),
    "edges": (edges, {"x": (6,)}),
    "places": (places, {"x": (6,)}),
}


@dataclass
class Model:
    """A model with its objective, random columns and weights."""

    objective: LossGraph
    columns: Mapping[str, Any]
    weights: Weights

    @classmethod
    def of(cls, name: str, samples: int, dtype: str = "float64") -> Model:
        """The model of a name."""
        return cls.made(*MODELS[name], samples, dtype)

    @classmethod
    def made(
        cls,
        program: Program,
        shapes: dict[str, Shape],
        samples: int,
        dtype: str = "float64",
    ) -> Model:
        """The model of a program with inputs of these shapes."""
        joined = loss_graph(program.trace(**shapes), SquareError())
        rng = np.random.default_rng(0)
        columns = {
            key: rng.standard_normal((samples, *shape)).astype(dtype)
            for key, shape in {**shapes, TARGET: joined.terms[TARGET].output}.items()
        }
        weights = Weights(joined.layout(dtype))
        weights.assign(
            {n: rng.standard_normal(w.shape) / 2 for n, w in weights.values.items()}
        )
        return cls(joined, columns, weights)

    def bound(
        self,
        block: int,
        stack: int,
        backend: str = "numpy",
        execution: Execution | None = None,
    ) -> tuple[BoundPlan, Any]:
        """A plan with memory, and its slots."""
        layout = self.weights.layout
        planned = plan(
            self.objective.graph,
            layout,
            block,
            gradients=self.objective.gradients,
            stack=stack,
        )
        slots = np.zeros(stack * layout.size, layout.dtype)
        bound = BACKENDS[backend](planned, self.weights.flat, slots, execution)
        execute(bound.once, Pool(1))
        return bound, slots.reshape(stack, -1)

    def run(self, bound: BoundPlan, first: int, pool: Pool | None = None) -> None:
        """Run the plan on the rows from ``first`` on."""
        for name, array in bound.inputs.items():
            rows = array.reshape(-1, *array.shape[2:])
            rows[...] = self.columns[name][first : first + len(rows)]
        execute(bound.phases, pool or Pool(1))
