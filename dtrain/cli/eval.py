"""Measure how well weights fit data: the mean loss, and what says it in other words.

For classes, labels or one-hot, that is the accuracy; for values the root of the mean
squared error (rmse), and R², the share of the targets' variance that is accounted for.
All are the same on any number of ranks.
"""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from dtrain.checkpoint.folder import load
from dtrain.cli import options, sources, words
from dtrain.data.binding import bind
from dtrain.reduction.blocks import share
from dtrain.report.table import print_table, say
from dtrain.training.differences import compare_data
from dtrain.training.evaluate import Evaluation, evaluate
from dtrain.training.recovery import recovering
from dtrain.training.run import check_outputs, write_report
from dtrain.training.setup import together
from dtrain.worlds.world import World

EXAMPLE = """\
  dtrain train mlp --epochs 5 --save mlp.safetensors
  dtrain eval mlp --weights mlp.safetensors
  dtrain eval mlp digits --weights mlp.safetensors"""


def add_arguments(parser: ArgumentParser) -> None:
    """The command's arguments."""
    options.add_program(parser)
    options.add_data(parser, default=options.HELD_OUT)
    options.add_bits(parser)
    options.add_timeout(parser)
    options.add_loss(parser)
    parser.add_argument(
        "--weights",
        type=words.path,
        metavar="FILE|FOLDER",
        required=True,
        help="weights from --save, or a checkpoint, or the newest of a folder",
    )
    parser.add_argument(
        "--report",
        type=words.path,
        metavar="FILE.json",
        help="write the numbers, as JSON",
    )


def run(world: World, args: Namespace) -> int:
    """Evaluate on all ranks, print on rank 0; return the exit code."""
    options.watch(world, args)
    name, result = recovering(world, lambda: _evaluate(world, args))
    if world.rank == 0:
        shown = {
            "program": name,
            "ranks": world.size,
            "samples": f"{result.samples:,}",
            "loss": f"{result.loss:.6g}",
            **metrics(result),
        }
        print_table(shown)
        if not math.isfinite(result.loss):
            say("the loss is not finite: some output overflowed or became NaN")
    return 0


def _evaluate(world: World, args: Namespace) -> tuple[str, Evaluation]:
    """Give the program's name and what is found, and write the report; collective."""
    with together(world):
        program = sources.load_program(args.program)
        if world.rank == 0:
            check_outputs({"--report": args.report}, sources.files_read(args, program))
        loss = options.loss(args)
        entry = sources.zoo_entry(args.program)
        dataset = sources.load_data(args.data, entry, held_out=True)
        samples = bind(
            dataset,
            program.inputs,
            args.target,
            sources.bound_columns(args),
            with_target=loss.takes_target,
        )
        weights = load(args.weights)
        rows = share(len(samples), world.rank, world.size)
        samples.check_finite(rows.start, rows.stop)
    compare_data(world, dataset, dataset.digest())
    result = evaluate(world, program, samples, weights, loss)
    with together(world):
        if world.rank == 0 and args.report:
            write_report({"program": program.name, **asdict(result)}, args.report)
    return program.name, result


def metrics(result: Evaluation) -> dict[str, str]:
    """What says in other words than the loss how well weights fit, as text."""
    texts = {}
    if result.accuracy is not None:
        texts["accuracy"] = f"{100 * result.accuracy:.2f} %"
    for name in ("rmse", "r2"):
        value = getattr(result, name)
        if value is not None:
            texts[name] = f"{value:.6g}"
    return texts
