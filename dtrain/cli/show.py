"""Print a program's flow graph, its levels and paths; or draw it, or print its plan.

The plan is the list of steps that training runs for every block of samples: forward,
loss, backward.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from dtrain.checkpoint.output import check_outputs, written_whole
from dtrain.cli import options, sources, words
from dtrain.descent.loss_graph import loss_graph
from dtrain.descent.losses import Loss
from dtrain.descent.several import Several
from dtrain.drawing.dot import dot
from dtrain.drawing.svg import drawing
from dtrain.engine.engine import chosen_backend
from dtrain.engine.lowering.lower import plan
from dtrain.engine.printing import lines
from dtrain.errors import ProgramError
from dtrain.gradient.paths import Paths
from dtrain.problem.agreement import together
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.printing import counted, label
from dtrain.tracing.trace import Program
from dtrain.worlds.world import World

EXAMPLE = """\
  dtrain show lecture
  dtrain show lecture --svg lecture.svg
  dtrain show lecture --plan fused"""

_BLOCK = 64  # samples; the steps of a plan do not depend on it


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    options.add_program(parser)
    options.add_options(parser, "show")


def run(world: World, args: Namespace) -> int:
    """Print on rank 0; return the exit code."""
    with together(world):
        program = sources.load_program(args.program)
        if world.rank == 0:
            check_outputs(
                {"--dot": args.dot, "--svg": args.svg},
                sources.files_read(args, program),
            )
        graph = traced_with_shapes(program, args)
        if world.rank == 0 and (args.dot or args.svg):
            _write(graph, args)
        text = str(graph)
        if args.plan:
            text = _plan_text(graph, options.loss(args), args.plan)
    if world.rank or args.dot or args.svg:
        return 0
    print(text)
    if not args.plan:
        print()
        for number, level in enumerate(graph.levels):
            names = " ".join(label(graph, i) for i in level if _shown(graph, i))
            print(f"  level {number}: {names}")
        for name, number in graph.outputs.items():
            paths = Paths(graph, number)
            count = sum(map(paths.count, graph.weights.values()))
            print(f"  {counted(count, 'path')} from weights to {name}")
    return 0


def _write(graph: FlowGraph, args: Namespace) -> None:
    """Draw first, then write, so that an error leaves no file."""
    texts = {
        path: draw(graph)
        for path, draw in ((args.svg, drawing), (args.dot, dot))
        if path is not None
    }
    for path, text in texts.items():
        with written_whole(path, "drawing") as file:
            file.write(text.encode())


def _plan_text(graph: FlowGraph, loss: Loss | Several, backend: str) -> str:
    """Return the plan of a program with a loss and its derivatives."""
    joined = loss_graph(graph, loss)
    planned = plan(
        joined.graph, joined.layout("float32"), _BLOCK, gradients=joined.gradients
    )
    return "\n".join(lines(chosen_backend(backend).arranged(planned)))


def traced_with_shapes(program: Program, args: Namespace) -> FlowGraph:
    """Trace a program for the shapes of ``--shape`` or of the zoo's data.

    Raises:
        ProgramError: tracing failed; with a hint if no shapes were given.
    """
    shapes = input_shapes(program, args)
    try:
        return program.trace(**shapes)
    except ProgramError as error:
        if shapes:
            raise
        name = next(iter(program.inputs), "x")
        raise ProgramError(
            f"{error}\n(inputs were assumed to be scalars; --shape {name}=64 makes "
            f"{name} a vector)"
        ) from None


def input_shapes(program: Program, args: Namespace) -> dict[str, tuple[int, ...]]:
    """Return the shapes of ``--shape``, otherwise those of the zoo's data.

    Raises:
        ProgramError: the program has no such input.
    """
    given = words.shapes(args.shape)
    entry = sources.zoo_entry(args.program)
    if entry is not None and not given:
        columns = sources.load_data(None, entry).columns
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
