"""Check a program's gradient, weight by weight, against differences of the loss.

Where there are few paths from a weight to the output, the derivative of the first
sample's loss is also held against the sum over them, the lecture's definition.

Without DATA the inputs are random. Exit code 1 says that a gradient is wrong.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.checkpoint.folder import load
from dtrain.cli import options, sources
from dtrain.cli.show import traced_with_shapes
from dtrain.data.binding import bind
from dtrain.data.columns import Samples
from dtrain.diagnose.check import GradientCheck, check_samples, seeded
from dtrain.errors import UsageError
from dtrain.problem.agreement import together
from dtrain.problem.samples import as_samples
from dtrain.tracing.trace import Program
from dtrain.training.recovery import recovering
from dtrain.worlds.world import World

EXAMPLE = "  dtrain check lecture"
_SAMPLES = 64  # enough to meet every branch; a check needs no more


def add_arguments(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    options.add_program(parser)
    options.add_data(parser)
    options.add_options(parser, "check")


def run(world: World, args: Namespace) -> int:
    """Check on every rank alike, print on rank 0; return the exit code."""
    options.watch(world, args)
    result = recovering(world, lambda: _check(world, args))
    if world.rank == 0:
        print(result)
    return 0 if result.passed else 1


def _check(world: World, args: Namespace) -> GradientCheck:
    """Check the gradient; collective."""
    with together(world):
        program = sources.load_program(args.program)
        weights: Mapping[str, Any] | None = None
        if args.weights is not None:
            weights = load(args.weights)
        return check_samples(
            program,
            _samples(program, args),
            options.loss(args),
            weights,
            args.seed,
            options.penalty(args),
        )


def _drawn(program: Program, args: Namespace) -> dict[str, NDArray[Any]]:
    """Return random inputs; where one is an index, 0, of which there is always one."""
    rng = seeded(args.seed)
    graph = traced_with_shapes(program, args)
    drawn = {}
    for name in program.inputs:
        node = graph.nodes[graph.inputs[name]]
        size = (_SAMPLES, *node.shape)
        index = node.dtype == "int"
        drawn[name] = np.zeros(size, int) if index else rng.standard_normal(size)
    return drawn


def _samples(program: Program, args: Namespace) -> Samples:
    """Return the first samples of DATA, or random ones.

    Raises:
        UsageError: if there are both DATA and the shapes of random inputs.
    """
    entry = sources.zoo_entry(args.program)
    if args.data is not None and args.shape:
        raise UsageError("--shape is for random inputs: give it or DATA, not both")
    if args.data is None and (entry is None or args.shape):
        return as_samples(program, _drawn(program, args), None)
    samples = bind(
        sources.load_data(args.data, entry, separator=args.separator),
        program.inputs,
        args.target,
        options.columns(args),
        with_target=options.loss(args).takes_target,
        missing=args.missing,
    )
    count = min(len(samples), _SAMPLES)
    samples.check_finite(0, count)
    return samples.first(count)
