"""Explain a program at one point: forward, backward, and the sums over paths.

Print every value, every adjoint v_X = ∂Output/∂X with its transfer function, and each
weight's derivative as the sum over its paths. With --html, write all of it as one page
to step through, which needs no network.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.checkpoint.folder import load
from dtrain.checkpoint.output import check_outputs, written_whole
from dtrain.cli import options, sources
from dtrain.cli.show import input_shapes
from dtrain.errors import UsageError
from dtrain.explain.explanation import Explanation
from dtrain.explain.page import page
from dtrain.explain.text import lines
from dtrain.gradient.layout import Layout
from dtrain.gradient.vector import Weights
from dtrain.problem.agreement import together
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.noise import quiet
from dtrain.tracing.trace import Program
from dtrain.tracing.weights import draw
from dtrain.worlds.world import World

EXAMPLE = """\
  dtrain explain lecture --at P=0.3,Q=1.2
  dtrain explain lecture --at P=0.3,Q=1.2 --html lecture.html"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    options.add_program(parser)
    options.add_options(parser, "explain")


def run(world: World, args: Namespace) -> int:
    """Explain on rank 0; return the exit code."""
    with together(world):
        program = sources.load_program(args.program)
        if world.rank == 0:
            check_outputs({"--html": args.html}, sources.files_read(args, program))
        explanation = _explanation(program, args)
        if world.rank:
            return 0
        if args.html is None:
            print("\n".join(lines(explanation)))
        else:
            with written_whole(args.html, "page") as file:
                file.write(page(explanation).encode())
    return 0


def _explanation(program: Program, args: Namespace) -> Explanation:
    entry = sources.zoo_entry(args.program)
    if not args.at and entry is not None and not args.shape:
        columns = sources.load_data(None, entry).columns
        inputs = {name: np.array(columns[name][0]) for name in program.inputs}
    else:
        given = _point(args.at)
        _check_names(program.name, program.inputs, given)
        shapes = input_shapes(program, args)
        inputs = {key: _shaped(key, given[key], shapes) for key in program.inputs}
    graph = quiet(program.trace(**{key: x.shape for key, x in inputs.items()}))
    return Explanation(program, graph, inputs, _weights(graph, args), args.output)


def _point(texts: list[str]) -> dict[str, list[float]]:
    """Return the numbers that ``--at`` gives for each name.

    Raises:
        UsageError: the text has another form.
    """
    point: dict[str, list[float]] = {}
    numbers: list[float] | None = None
    for word in ",".join(texts).split(",") if texts else ():
        name, equals, value = word.rpartition("=")
        if equals and name:
            if name in point:
                raise UsageError(f"--at names {name!r} twice")
            numbers = point[name] = []
        if numbers is None or (equals and not name):
            raise UsageError(f"--at {word!r} must have the form name=number")
        try:
            numbers.append(float(value))
        except ValueError:
            raise UsageError(f"--at {word}: {value!r} is not a number") from None
        if not np.isfinite(numbers[-1]):
            raise UsageError(f"--at {word}: {value!r} is not finite")
    return point


def _check_names(
    program: str, inputs: tuple[str, ...], given: Mapping[str, Any]
) -> None:
    unknown = [name for name in given if name not in inputs]
    missing = [name for name in inputs if name not in given]
    if unknown:
        raise UsageError(
            f"--at: program {program} has no input {unknown[0]!r}; it has "
            + ", ".join(inputs)
        )
    if missing:
        words = ",".join(f"{name}=0.5" for name in inputs)
        raise UsageError(
            f"--at: {', '.join(missing)} is missing; for example --at {words}"
        )


def _shaped(
    name: str, numbers: list[float], shapes: Mapping[str, tuple[int, ...]]
) -> NDArray[Any]:
    """Return an input's numbers in its shape; a single number fills the shape."""
    if name not in shapes:
        return np.array(numbers[0] if len(numbers) == 1 else numbers)
    shape = shapes[name]
    if len(numbers) == 1:
        return np.full(shape, numbers[0])
    if len(numbers) != np.prod(shape, dtype=int):
        raise UsageError(
            f"--at {name}: {len(numbers)} numbers do not fill the shape {shape}"
        )
    return np.reshape(numbers, shape)


def _weights(graph: FlowGraph, args: Namespace) -> dict[str, NDArray[Any]]:
    """Return the weights of ``--weights``, otherwise initial weights.

    Raises:
        UsageError: the weights do not fit the program.
    """
    shapes = {name: spec.shape for name, spec in graph.specs.items()}
    weights = Weights(Layout.of(shapes, "float64"))
    first = args.weights is None
    weights.assign(draw(graph, args.seed, "float64") if first else load(args.weights))
    return {name: weights.values[name] for name in graph.specs}
