"""Fit a program's weights to data by gradient descent, alone or under mpirun.

Without PROGRAM, the zoo's default is trained: an MLP 64-32-10 on the UCI digits. A
program of the zoo needs no DATA and has its own defaults. The trained weights have the
same bits on any number of ranks.
"""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, Namespace
from typing import Any

from dtrain.cli import options, sources, words
from dtrain.cli.eval import metrics
from dtrain.data.binding import bind
from dtrain.descent import optimizers
from dtrain.errors import UsageError
from dtrain.report.log import keep_log
from dtrain.report.progress import Progress
from dtrain.report.table import print_table, say
from dtrain.tracing.printing import counted
from dtrain.tracing.trace import Program
from dtrain.training.evaluate import Evaluation, evaluate
from dtrain.training.loop import Loop
from dtrain.training.recovery import recovering
from dtrain.training.run import Run, check_outputs, write_report
from dtrain.training.settings import Settings
from dtrain.training.setup import together
from dtrain.training.signals import Signals
from dtrain.training.trainer import Trainer
from dtrain.worlds.world import World
from dtrain.zoo import DATA, Entry, heldout

EXAMPLE = """\
  dtrain train lecture --epochs 100 --learning-rate 0.5
  dtrain train mlp --optimizer sgd --momentum 0.9 --learning-rate 0.02 --epochs 5"""

_DEFAULTS: dict[str, Any] = {
    "epochs": 10,
    "learning_rate": 0.01,
    "batch": None,
    "block": None,
    "optimizer": "sgd",
}
_OPTIMIZER_OPTIONS = ("momentum", "nesterov", "weight_decay", "clip_norm")


def add_arguments(parser: ArgumentParser) -> None:
    """The command's arguments. Those without a default here may have one in the zoo."""
    options.add_program(parser, default="mlp")
    options.add_data(parser)
    _add_descent(parser)
    options.add_loss(parser)
    options.add_penalty(parser)
    _add_computing(parser)
    _add_guards(parser)
    options.add_saving(parser)
    add = parser.add_argument
    add(
        "--min-ranks",
        type=words.count,
        default=1,
        metavar="P",
        help="stop, with a checkpoint, when fewer ranks are left (1; ranks can be lost "
        "under mpirun --with-ft ulfm)",
    )
    add(
        "--save",
        type=words.path,
        metavar="FILE",
        help="write the weights, as safetensors",
    )
    add(
        "--report",
        type=words.path,
        metavar="FILE.json",
        help="write the run in numbers, as JSON",
    )
    add(
        "--log-dir",
        type=words.path,
        metavar="DIR",
        help="keep what each rank prints in DIR/rank-N.log, too",
    )
    add("--quiet", action="store_true", help="print nothing but errors")


def _add_descent(parser: ArgumentParser) -> None:
    """The options about steps: of which samples, how long, in which direction."""
    add, count, number = parser.add_argument, words.count, words.number
    add(
        "--epochs",
        default=SUPPRESS,
        type=count,
        metavar="E",
        help="visits of each sample (10)",
    )
    add(
        "--batch",
        default=SUPPRESS,
        type=words.batch_size,
        metavar="N|full",
        help="samples in a step, or full, the lecture's (full)",
    )
    add(
        "--block",
        default=SUPPRESS,
        type=count,
        metavar="K",
        help="samples in a block, the unit of exact sums (chosen from the program)",
    )
    add(
        "--optimizer",
        default=SUPPRESS,
        metavar="NAME",
        help=f"{', '.join(optimizers.OPTIMIZERS)} (sgd)",
    )
    add("--learning-rate", default=SUPPRESS, type=number, metavar="η", help="(0.01)")
    add(
        "--momentum",
        default=SUPPRESS,
        type=number,
        metavar="μ",
        help="of sgd and rmsprop",
    )
    add("--nesterov", default=SUPPRESS, action="store_true", help="Nesterov's momentum")
    add(
        "--weight-decay",
        default=SUPPRESS,
        type=number,
        metavar="λ",
        help="L2; of adamw decoupled",
    )
    add(
        "--clip-norm",
        default=SUPPRESS,
        type=number,
        metavar="C",
        help="shorten a longer gradient to this norm",
    )
    add(
        "--learning-rate-schedule",
        metavar="NAME",
        default="constant",
        help="constant, step or cosine, over the whole run (constant)",
    )
    add(
        "--warmup",
        type=words.count_or_none,
        metavar="STEPS",
        default=0,
        help="raise the learning rate linearly over the first steps",
    )


def _add_computing(parser: ArgumentParser) -> None:
    """The options about how steps are computed."""
    add = parser.add_argument
    add(
        "--seed",
        type=words.whole_number,
        default=0,
        metavar="S",
        help="of first values and of the order of samples (0)",
    )
    add("--dtype", default="float32", metavar="NAME", help="float32 or float64")
    add(
        "--threads",
        type=words.count,
        metavar="N",
        help="threads of each rank: with sequential BLAS's, which may give other bits "
        "(1); else those that run steps at once (the cores a rank has to itself)",
    )
    add(
        "--execution",
        default="sequential",
        metavar="NAME",
        help="sequential, levels or dataflow, all to the same bits (sequential)",
    )
    options.add_bits(parser)
    add("--backend", default="numpy", metavar="NAME", help="numpy or fused (numpy)")


def _add_guards(parser: ArgumentParser) -> None:
    """The options about what ends a run that goes wrong."""
    add = parser.add_argument
    options.add_timeout(parser)
    add(
        "--on-nonfinite",
        default="stop",
        metavar="NAME",
        help="stop, or skip the step, where loss or gradient are not finite (stop)",
    )
    add(
        "--verify-every",
        type=words.count_or_none,
        default=100,
        metavar="K",
        help="compare all ranks' weights every K steps; 0: only in the end (100)",
    )


def run(world: World, args: Namespace) -> int:
    """Train on all ranks, print on rank 0; return the exit code."""
    options.watch(world, args)
    active = args.checkpoint is not None
    heard = Signals(active=active, owned=True, end=world.leave)

    def begin() -> None:
        with together(world):
            if args.log_dir is not None:
                keep_log(args.log_dir, world.rank)

    recovering(world, begin)
    with heard as signals:
        return _train(world, args, signals)


def _train(world: World, args: Namespace, signals: Signals) -> int:
    entry = sources.zoo_entry(args.program)

    def speaks() -> bool:
        return world.rank == 0 and not args.quiet

    trainer, program = recovering(world, lambda: _prepare(world, args, entry))
    if speaks() and trainer.blocks < world.size:
        say(_too_few_blocks(trainer))
    if speaks() and trainer.settings.blas_threads > 1:
        say(f"{args.threads} BLAS threads may give other bits than one thread gives")
    with Progress(trainer.steps, trainer.order.steps_per_epoch, speaks) as shown:
        signals.farewell = shown.stop
        loop = Loop(trainer, [shown], signals)
        result = loop.run()

    def write() -> None:
        with together(world):
            if world.rank == 0:
                _write(args, result, len(world.lost))
                unsaved = loop.saver is not None and loop.saver.newest < trainer.steps
                if unsaved and not args.save:
                    raise UsageError(
                        f"the run is done, but --checkpoint {args.checkpoint} does not "
                        "hold its end, which could not be written"
                    )

    held_out = recovering(world, lambda: _held_out(world, program, args, result))
    try:
        recovering(world, write)
    finally:  # what a long run has come to is told, whatever cannot be written
        if speaks():
            print_table(_rows(result, held_out))
    return 0


def _prepare(
    world: World, args: Namespace, entry: Entry | None
) -> tuple[Trainer, Program]:
    """Set up on all ranks: program, data and settings."""
    with together(world):
        program = sources.load_program(args.program)
        settings = settings_of(args, entry)
        data = sources.load_data(args.data, entry)
        if world.rank == 0:
            outputs = {"--save": args.save, "--report": args.report}
            read = sources.files_read(args, program)
            check_outputs(outputs, read, args.checkpoint)
    return Trainer(world, program, data, settings), program


def settings_of(args: Namespace, entry: Entry | None) -> Settings:
    """The options as settings: given ones, else the zoo's, else the defaults.

    Raises:
        UsageError: if they mean nothing, or not together.
    """
    given = vars(args)
    chosen = {**_DEFAULTS, **(entry.options if entry else {})}
    chosen.update((name, given[name]) for name in _DEFAULTS if name in given)
    rule = {name: given[name] for name in _OPTIMIZER_OPTIONS if name in given}
    chosen["optimizer"] = optimizers.named(chosen["optimizer"], **rule)
    chosen["loss"] = options.loss(args)
    return Settings(
        **chosen,
        target=args.target,
        columns=sources.bound_columns(args),
        penalty=options.penalty(args),
        learning_rate_schedule=args.learning_rate_schedule,
        warmup=args.warmup,
        seed=args.seed,
        dtype=args.dtype,
        execution=args.execution,
        backend=args.backend,
        threads=args.threads,
        timeout=args.timeout,
        on_nonfinite=args.on_nonfinite,
        verify_every=args.verify_every,
        checkpoint=options.saving(args),
        min_ranks=args.min_ranks,
    )


def _held_out(
    world: World, program: Program, args: Namespace, result: Run
) -> Evaluation | None:
    """How well the weights fit the samples that the zoo keeps out of training."""
    entry = sources.zoo_entry(args.program)
    name = heldout(args.data or (entry.data if entry else ""))
    if name is None:
        return None
    loss = options.loss(args)
    samples = bind(
        DATA[name](),
        program.inputs,
        args.target,
        sources.bound_columns(args),
        with_target=loss.takes_target,
    )
    return evaluate(world, program, samples, result.weights, loss)


def _too_few_blocks(trainer: Trainer) -> str:
    ranks, batch = trainer.world.size, trainer.order.nominal
    text = counted(trainer.blocks, "block") + " of " + counted(trainer.block, "sample")
    text += " keeps" if trainer.blocks == 1 else " keep"
    text += f" only {trainer.blocks} of {ranks} ranks busy"
    if trainer.block == 1:
        return f"{text}; a batch of {batch} has no more than {batch} blocks"
    block = max(-(-batch // ranks), 1)
    while -(-batch // block) < min(ranks, batch):
        block -= 1
    used = "all" if batch >= ranks else batch
    return f"{text}; --block {block} would use {used}, with other bits in the result"


def _write(args: Namespace, result: Run, failures: int) -> None:
    """Write each file, though another cannot be written."""
    try:
        if args.report:
            report = {**result.report, "recovered_failures": failures}
            write_report(report, args.report)
    finally:
        if args.save:
            result.save(args.save)


def _rows(result: Run, held_out: Evaluation | None) -> dict[str, Any]:
    report = result.report
    rows = {
        "program": report["program"],
        "ranks": f"{report['ranks']} on {', '.join(report['hosts'])}",
        "samples": f"{report['samples']:,}",
        "weights": f"{report['weights']:,}",
        "blocks": f"{report['blocks']:,} of {report['block']:,} samples a step",
        "epochs": f"{report['epochs']} ({counted(report['steps'], 'step')})",
        "skipped steps": f"{report['skipped_steps']:,} (not finite)",
        "loss": f"{report['loss']:.6g} (mean over the last epoch)",
    }
    if not report["skipped_steps"]:
        del rows["skipped steps"]
    if held_out is not None:
        found = metrics(held_out) or {"loss": f"{held_out.loss:.6g}"}
        rows.update({f"held-out {name}": text for name, text in found.items()})
    rows["seconds"] = f"{report['seconds']:.2f}"
    rows["samples/s"] = f"{report['samples_per_second']:,.0f}"
    rows["weights_sha256"] = report["weights_sha256"]
    return rows
