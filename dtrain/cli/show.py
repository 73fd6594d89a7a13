"""Print a program's flow graph, one line for each node, and its levels."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from dtrain.cli import options
from dtrain.errors import ProgramError
from dtrain.parallel.world import World
from dtrain.program.graph import FlowGraph
from dtrain.program.printing import label
from dtrain.program.trace import Program
from dtrain.training.setup import together

EXAMPLE = "  dtrain show lecture"


def add_arguments(parser: ArgumentParser) -> None:
    """The command's arguments."""
    options.add_program(parser)
    options.add_shape(parser)


def run(world: World, args: Namespace) -> int:
    """Print on rank 0; return the exit code."""
    with together(world):
        program = options.load_program(args.program)
        graph = traced_with_shapes(program, args)
    if world.rank == 0:
        print(graph)
        print()
        for number, level in enumerate(graph.levels):
            names = " ".join(label(graph, i) for i in level if _shown(graph, i))
            print(f"  level {number}: {names}")
    return 0


def traced_with_shapes(program: Program, args: Namespace) -> FlowGraph:
    """Trace a program for the shapes that are known.

    Raises:
        ProgramError: with a hint, if none were given and it takes other ones.
    """
    shapes = input_shapes(program, args)
    try:
        return program.trace(**shapes)
    except ProgramError as error:
        if shapes:
            raise
        name = next(iter(program.inputs), "x")
        raise ProgramError(
            f"{error}\n(inputs were taken for scalars; --shape {name}=64 would make "
            f"{name} a vector)"
        ) from None


def input_shapes(program: Program, args: Namespace) -> dict[str, tuple[int, ...]]:
    """What ``--shape`` says, else the shapes of the zoo's own data.

    Raises:
        ProgramError: if the program has no such input.
    """
    given = options.shapes(args.shape)
    entry = options.zoo_entry(args.program)
    if entry is not None and not given:
        columns = options.load_data(None, entry).columns
        return {name: columns[name].shape[1:] for name in program.inputs}
    for name in given:
        if name not in program.inputs:
            raise ProgramError(
                f"program {program.name} has no input {name!r}; it has "
                + ", ".join(program.inputs)
            )
    return given


def _shown(graph: FlowGraph, number: int) -> bool:
    return graph.nodes[number].constant is None or graph.nodes[number].shape != ()
