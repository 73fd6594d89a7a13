"""Measure how well weights fit data: the mean loss and a matching metric.

For classes, labels or one-hot, the metric is the accuracy. For values it is the root of
the mean squared error (rmse) and R², the share of the targets' variance that the
outputs explain. All are the same on any number of ranks.
"""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

from dtrain.checkpoint.folder import load
from dtrain.checkpoint.output import check_outputs, write_report
from dtrain.cli import options, sources
from dtrain.problem.agreement import together
from dtrain.problem.evaluate import measure
from dtrain.problem.problem import read_samples
from dtrain.problem.remembered import (
    categories_of,
    check_known,
    chosen_loss,
    usual_columns,
)
from dtrain.report.table import print_message, print_table
from dtrain.training.recovery import recovering
from dtrain.worlds.world import World

EXAMPLE = """\
  dtrain train mlp --epochs 5 --save mlp.safetensors
  dtrain eval mlp --weights mlp.safetensors
  dtrain eval mlp digits --weights mlp.safetensors"""
_KEYS = ("samples", "loss", "accuracy", "rmse", "r2")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    options.add_program(parser)
    options.add_data(parser, default=options.HELD_OUT)
    options.add_options(parser, "eval")


def run(world: World, args: Namespace) -> int:
    """Evaluate on all ranks, print on rank 0; return the exit code."""
    options.watch(world, args)
    name, found = recovering(world, lambda: _evaluate(world, args))
    if world.rank == 0:
        shown = {
            "program": name,
            "ranks": world.size,
            "samples": f"{found['samples']:,}",
            "loss": f"{found['loss']:.6g}",
            **metrics(found),
        }
        print_table(shown)
        if not math.isfinite(found["loss"]):
            print_message("the loss is not finite: an output overflowed or became NaN")
    return 0


def _evaluate(world: World, args: Namespace) -> tuple[str, dict[str, float]]:
    """Return the program's name and its metrics, and write the report; collective."""
    with together(world):
        program = sources.load_program(args.program)
        if world.rank == 0:
            check_outputs({"--report": args.report}, sources.files_read(args, program))
        weights = load(args.weights)
        loss = chosen_loss(weights, options.given_loss(args))
        entry = sources.zoo_entry(args.program)
        data = sources.load_data(
            args.data, entry, held_out=True, separator=args.separator
        )
    samples, digest = read_samples(
        world,
        program,
        data,
        target=args.target,
        columns=options.columns(args),
        with_target=loss.takes_target,
        missing=args.missing,
        categories=categories_of(weights),
        sample_weight=args.sample_weight,
        usual=usual_columns(weights),
    )
    check_known(samples, categories_of(weights))
    found = measure(world, program, samples, weights, loss, digest)
    with together(world):
        if world.rank == 0 and args.report:
            report = {"program": program.name, **dict.fromkeys(_KEYS), **found}
            write_report(report, args.report)
    return program.name, found


def metrics(found: Mapping[str, float]) -> dict[str, str]:
    """Return the metrics beside the loss as texts."""
    texts = {}
    if "accuracy" in found:
        texts["accuracy"] = f"{100 * found['accuracy']:.2f} %"
    for name in ("rmse", "r2"):
        if name in found:
            texts[name] = f"{found[name]:.6g}"
    return texts
