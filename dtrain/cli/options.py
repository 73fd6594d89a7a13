"""The options that commands share: of the program, the data, the loss, saving."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dtrain.cli.sources import zoo_entry
from dtrain.cli.words import count, number, path, seconds

if TYPE_CHECKING:
    from dtrain.descent.losses import Loss
    from dtrain.descent.penalties import Penalty
    from dtrain.training.settings import Saving
    from dtrain.worlds.world import World

HELD_OUT = "what the zoo keeps out of training"  # DATA, where weights are judged


def add_program(parser: argparse.ArgumentParser, *, default: str | None = None) -> None:
    """The argument PROGRAM."""
    parser.add_argument(
        "program",
        metavar="PROGRAM",
        nargs="?" if default else None,
        default=default,
        help="path/to/file.py:name, package.module:name, or a name of the zoo"
        + (f" (default: {default})" if default else ""),
    )


def add_data(
    parser: argparse.ArgumentParser,
    *,
    default: str = "the zoo program's own",
    target: bool = True,
) -> None:
    """The argument DATA and how its columns are bound."""
    parser.add_argument(
        "data",
        type=path,
        metavar="DATA",
        nargs="?",
        help="a .npz, a folder of .npy, a .csv, or a data set of the zoo (default: "
        f"{default})",
    )
    parser.add_argument(
        "--columns",
        metavar="INPUT=COLUMN[:LAST]",
        action="append",
        default=[],
        help="the column that an input reads, or the range of columns that make a "
        "vector; may be given several times",
    )
    if target:
        parser.add_argument(
            "--target",
            metavar="COLUMN",
            help="the column to fit (default: t, or the one that is no input)",
        )


def add_bits(parser: argparse.ArgumentParser) -> None:
    """The option --bits, which `main` has read before."""
    parser.add_argument(
        "--bits",
        metavar="NAME",
        help="native, or portable: the AVX2 level, whose bits all processors that have "
        "it share (native, or what DTRAIN_BITS says)",
    )


def add_timeout(parser: argparse.ArgumentParser) -> None:
    """The option --timeout, by which `main` has joined the ranks before."""
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="S",
        help="end all ranks, saying where they stand, after so long without progress; "
        "0 is never (300 under a launcher, else 0)",
    )


def watch(world: World, args: argparse.Namespace) -> None:
    """Let the watchdog allow what ``--timeout`` says, while reading, too."""
    if args.timeout is not None:
        world.watchdog.limit = args.timeout


def add_loss(parser: argparse.ArgumentParser) -> None:
    """The option --loss."""
    parser.add_argument(
        "--loss",
        metavar="NAME",
        help="square, absolute or huber: of the output's errors; cross_entropy: the "
        "output holds logits, the target a class label or one-hot; "
        "binary_cross_entropy: of logits, the target is 0 or 1; mean: the output is "
        "the loss (default: square, or the zoo's)",
    )


def loss(args: argparse.Namespace) -> Loss:
    """What ``--loss`` says, else what the zoo trains the program by, or the square.

    Raises:
        UsageError: if there is no such loss.
    """
    from dtrain.descent import losses

    entry = zoo_entry(args.program)
    usual = entry.options.get("loss", "square") if entry else "square"
    return losses.named(vars(args).get("loss") or usual)


def add_penalty(parser: argparse.ArgumentParser) -> None:
    """The options --l1 and --l2."""
    for name, norm in (("--l1", "Σ|w|"), ("--l2", "Σw²")):
        parser.add_argument(
            name,
            type=number,
            metavar="λ",
            default=0.0,
            help=f"add λ {norm} over all weights to the loss",
        )


def add_saving(parser: argparse.ArgumentParser) -> None:
    """The options about checkpoints."""
    add = parser.add_argument
    add(
        "--checkpoint",
        type=path,
        metavar="DIR",
        help="save the run in this folder as it goes",
    )
    add(
        "--resume",
        action="store_true",
        help="go on from the newest checkpoint there, if there is one",
    )
    add(
        "--force",
        action="store_true",
        help="resume although the program, the data or options have changed",
    )
    add("--save-every", type=count, metavar="STEPS", help="save after so many steps")
    add(
        "--save-seconds",
        type=number,
        metavar="S",
        help="save after so many seconds (60, unless --save-every is given)",
    )
    add(
        "--keep",
        type=count,
        default=3,
        metavar="K",
        help="checkpoints that are kept, beside the best (3)",
    )


def saving(args: argparse.Namespace) -> Saving | None:
    """What the options about checkpoints say."""
    from dtrain.training.settings import Saving

    return Saving.of(
        args.checkpoint,
        resume=args.resume,
        force=args.force,
        every=args.save_every,
        seconds=args.save_seconds,
        keep=args.keep,
    )


def penalty(args: argparse.Namespace) -> Penalty | None:
    """What ``--l1`` and ``--l2`` add to the loss.

    Raises:
        UsageError: if one of them is negative.
    """
    from dtrain.descent.penalties import Norms

    return Norms(args.l1, args.l2) if args.l1 or args.l2 else None


def add_shape(parser: argparse.ArgumentParser) -> None:
    """The option --shape, for commands that may run without data."""
    parser.add_argument(
        "--shape",
        metavar="INPUT=N[,M...]",
        action="append",
        default=[],
        help="an input's shape for one sample (default: a scalar)",
    )
