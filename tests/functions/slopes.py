"""A function's first and second directional derivatives, and differences of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dtrain import weight
from dtrain.engine.engine import Engine
from dtrain.functions.base import Shape
from dtrain.functions.block_axis import block_sum
from dtrain.gradient.differentiate import backward
from dtrain.gradient.layout import Layout
from dtrain.gradient.vector import Weights
from dtrain.problem.shard import RowBlocks
from dtrain.tracing.builder import Builder
from dtrain.tracing.expand import expand
from dtrain.tracing.trace import Program


def program_of(
    call: Callable[..., Any], shapes: Sequence[Shape], kinds: str, *, scalar: bool
) -> Program:
    """A program that applies a function to weights and samples.

    Its argument i is weight ``w{i}`` where ``kinds[i]`` is "w"; where that is "s" it is
    input ``x{i}``, moved along input ``d{i}`` by the scalar weight ``t``, so that the
    derivative by ``t`` is one along a direction of its own for every sample.

    Args:
        call: the function.
        shapes: of its arguments, for one sample.
        kinds: "w" or "s" for each argument.
        scalar: return one number that depends on every element, each in its own way,
            and more than linearly.
    """
    names = [f"{c}{i}" for i, kind in enumerate(kinds) if kind == "s" for c in "xd"]

    def program(**inputs: Any) -> Any:
        t = weight("t")
        arguments = [
            weight(f"w{i}", shape)
            if kind == "w"
            else inputs[f"x{i}"] + t * inputs[f"d{i}"]
            for i, (kind, shape) in enumerate(zip(kinds, shapes, strict=True))
        ]
        y = call(*arguments)
        if not scalar:
            return y
        c = np.linspace(0.6, 1.4, np.size(y)).reshape(np.shape(y))
        return np.sum(np.exp(0.2 * y) * c) * inputs["c"]

    program.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            for name in [*names, "c"]
        ]
    )
    return Program(program)


class Slopes:
    """The sum of a program's output over a block, along random directions.

    ``value``, ``first`` and ``second`` are outputs of one graph, made by running
    back-propagation on its own result.
    """

    def __init__(
        self,
        program: Program,
        columns: Mapping[str, Any],
        values: Mapping[str, Any],
        rng: np.random.Generator,
    ) -> None:
        graph = expand(
            program.trace(**{k: np.shape(v)[1:] for k, v in columns.items()}),
            only_without_vjp=True,
        )
        builder = Builder(graph.name)
        symbols = builder.include(graph)
        weights = {name: symbols[i] for name, i in graph.weights.items()}
        self.directions = [
            {name: rng.standard_normal(w.shape) for name, w in weights.items()}
            for _ in range(2)
        ]
        y = builder.symbol(block_sum(symbols[graph.output]))
        outputs = {"value": y}
        self.reached: list[bool] = []
        for order, direction in zip(("first", "second"), self.directions, strict=True):
            adjoints = backward(y, builder.constant(1.0), list(weights.values()))
            self.reached.append(any(each is not None for each in adjoints))
            y = builder.constant(0.0)
            for (name, _), adjoint in zip(weights.items(), adjoints, strict=True):
                if adjoint is not None:
                    y = y + np.sum(adjoint * direction[name])
            outputs[order] = y
        layout = Layout.of({n: w.shape for n, w in weights.items()}, "float64")
        self.engine = Engine(builder.graph(outputs), layout, columns)
        self.weights = Weights(layout)
        self.weights.assign(values)
        count = len(next(iter(columns.values())))
        self.rows = RowBlocks(0, 1, count, slice(0, count))

    def at(self, order: str, along: int = 0, step: float = 0.0) -> float:
        """An output, with the weights moved along one of the directions."""
        kept = self.weights.flat.copy()
        for name, view in self.weights.values.items():
            view += step * self.directions[along][name]
        self.weights.version += 1
        value = float(np.ravel(self.engine.run(self.weights, self.rows)[order])[0])
        self.weights.flat[...] = kept
        self.weights.version += 1
        return value

    def difference(self, order: str, along: int, step: float = 1e-3) -> float:
        """The central difference of an output, extrapolated (Richardson)."""
        coarse, fine = (
            (self.at(order, along, h) - self.at(order, along, -h)) / (2 * h)
            for h in (step, step / 2)
        )
        return (4 * fine - coarse) / 3
