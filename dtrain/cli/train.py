"""Fit a program's weights to data by gradient descent, alone or under mpirun.

Without PROGRAM, the zoo's default is trained: an MLP 64-32-10 on the UCI digits. A
program of the zoo needs no DATA and has its own defaults. The trained weights have the
same bits on any number of ranks.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

from dtrain.checkpoint.output import check_outputs, write_report
from dtrain.cli import options, sources
from dtrain.cli.eval import metrics
from dtrain.data.binding import bind
from dtrain.data.columns import Dataset
from dtrain.errors import UsageError
from dtrain.problem.agreement import together
from dtrain.problem.evaluate import measure
from dtrain.report.log import keep_log
from dtrain.report.progress import Progress
from dtrain.report.table import print_table
from dtrain.tracing.printing import counted
from dtrain.tracing.trace import Program
from dtrain.training.recovery import recovering
from dtrain.training.run import Run
from dtrain.training.signals import Signals
from dtrain.training.train import train
from dtrain.worlds.world import World
from dtrain.zoo import DATA, heldout

EXAMPLE = """\
  dtrain train lecture --epochs 100 --learning-rate 0.5
  dtrain train mlp --optimizer sgd --momentum 0.9 --learning-rate 0.02 --epochs 5"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    options.add_program(parser, default="mlp")
    options.add_data(parser)
    options.add_options(parser, "train")


def run(world: World, args: Namespace) -> int:
    """Train on all ranks, print on rank 0; return the exit code."""
    options.watch(world, args)
    signals = Signals(active=args.checkpoint is not None, owned=True, end=world.leave)

    def begin() -> None:
        with together(world):
            if args.log_dir is not None:
                keep_log(args.log_dir, world.rank)

    recovering(world, begin)
    with signals:
        return _train(world, args, signals)


def _train(world: World, args: Namespace, signals: Signals) -> int:
    def prints() -> bool:
        return world.rank == 0 and not args.quiet

    program, data, chosen = recovering(world, lambda: _prepare(world, args))
    with Progress(prints) as progress:
        signals.farewell = progress.stop
        result = train(program, data, world=world, callbacks=[progress], **chosen)

    def write() -> None:
        with together(world):
            if world.rank == 0:
                _write(args, result, len(world.lost))

    held_out = recovering(world, lambda: _held_out(world, program, args, result))
    try:
        recovering(world, write)
    finally:  # the results of a long run are printed even if a file cannot be written
        if prints():
            print_table(_rows(result, held_out))
    return 0


def _prepare(world: World, args: Namespace) -> tuple[Program, Dataset, dict[str, Any]]:
    """Load the program and the data, and check options and files; collective."""
    with together(world):
        entry = sources.zoo_entry(args.program)
        program = sources.load_program(args.program)
        chosen = options.settings(args, entry)
        data = sources.load_data(args.data, entry, separator=chosen["separator"])
        chosen["separator"] = None  # the data are open
        if world.rank == 0:
            outputs = {"--save": args.save, "--report": args.report}
            read = sources.files_read(args, program)
            check_outputs(outputs, read, args.checkpoint)
    return program, data, chosen


def _held_out(
    world: World, program: Program, args: Namespace, result: Run
) -> dict[str, float] | None:
    """Measure how well the weights fit the samples that the zoo holds out."""
    entry = sources.zoo_entry(args.program)
    name = heldout(args.data or (entry.data if entry else ""))
    if name is None:
        return None
    loss = options.loss(args)
    samples = bind(
        DATA[name](),
        program.inputs,
        args.target,
        options.columns(args),
        with_target=loss.takes_target,
    )
    return measure(world, program, samples, result.weights, loss)


def _write(args: Namespace, result: Run, failures: int) -> None:
    """Write each file, even if another one cannot be written.

    Raises:
        UsageError: one cannot be written, or the checkpoints lack the end of the run.
    """
    report = result.report
    try:
        if args.report:
            write_report({**report, "recovered_failures": failures}, args.report)
    finally:
        if args.save:
            result.save(args.save)
    unsaved = args.checkpoint and report["checkpoint_step"] != report["steps"]
    if unsaved and not args.save:
        raise UsageError(
            f"the run is done, but --checkpoint {args.checkpoint} does not hold its "
            "end, which could not be written"
        )


def _validation(report: Mapping[str, Any]) -> str:
    loss, samples = report["validation_loss"], report["validation_samples"]
    last, best = report["validation_history"][-1]["epoch"], report["best_epoch"]
    text = f"{loss:.6g} of {samples:,} samples"
    return f"{text} (epoch {best} was the best)" if best not in (None, last) else text


def _rows(result: Run, held_out: dict[str, float] | None) -> dict[str, Any]:
    report = result.report
    rows = {
        "program": report["program"],
        "ranks": f"{report['ranks']} on {', '.join(report['hosts'])}",
        "samples": f"{report['samples']:,}",
        "weights": f"{report['weights']:,}",
        "blocks": f"{report['blocks']:,} of {report['block']:,} samples a step",
        "epochs": f"{report['epochs']} ({counted(report['steps'], 'step')})",
        "skipped steps": f"{report['skipped_steps']:,} (not finite)",
    }
    if not report["skipped_steps"]:
        del rows["skipped steps"]
    if report["loss"] is not None:
        rows["loss"] = f"{report['loss']:.6g} (mean over the last epoch)"
    if report["validation_loss"] is not None:
        rows["validation loss"] = _validation(report)
    if report["stopped"] != "epochs":
        rows["stopped"] = report["message"]
    if held_out is not None:
        found = metrics(held_out) or {"loss": f"{held_out['loss']:.6g}"}
        rows.update({f"held-out {name}": text for name, text in found.items()})
    rows["seconds"] = f"{report['seconds']:.2f}"
    rows["samples/s"] = f"{report['samples_per_second']:,.0f}"
    rows["weights_sha256"] = report["weights_sha256"]
    return rows
