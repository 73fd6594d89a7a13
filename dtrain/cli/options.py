"""The command line's options: arguments for argparse, and values for `dtrain.train`.

Everything here follows from the table of options (`dtrain.cli.rows`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dtrain.cli.rows import OPTIONS
from dtrain.cli.sources import zoo_entry
from dtrain.cli.words import pairs
from dtrain.data.readers import formats
from dtrain.descent import losses, optimizers
from dtrain.descent.losses import Loss
from dtrain.descent.penalties import Norms, Penalty
from dtrain.errors import UsageError
from dtrain.problem.weighting import BALANCED
from dtrain.training.options import AT_LEAST_0, FLAG, PATH, Kind, Option
from dtrain.training.rows import LIBRARY
from dtrain.training.settings import Settings
from dtrain.training.values import Checkpoint, Spanning, Validation
from dtrain.worlds.world import World
from dtrain.zoo import DATA, Entry

HELD_OUT = "what the zoo keeps out of training"  # DATA, where weights are judged
_RULE = ("momentum", "nesterov", "weight_decay", "clip_norm")
_CHECKPOINT = {  # option: attribute of a Checkpoint
    "resume": "resume",
    "force": "force",
    "save_every": "every",
    "save_seconds": "seconds",
    "keep": "keep",
}
_VALIDATION = {  # option: attribute of a Validation
    "validate_every": "every",
    "patience": "patience",
    "min_delta": "min_delta",
    "restore_best": "restore_best",
}


def of(command: str) -> list[Option]:
    """Return the rows of a command's options."""
    return [option for option in OPTIONS if command in option.commands]


def add_options(parser: argparse.ArgumentParser, command: str) -> None:
    """Add a command's options to its parser."""
    for option in of(command):
        facts: dict[str, Any] = {
            "metavar": option.metavar,
            "type": parser_of(option.kind),
        }
        if option.several:
            facts |= {"action": "append", "type": str}
        if option.alone is not None:
            facts |= {"nargs": "?", "const": option.alone}
        if option.kind is FLAG:
            facts = {"action": "store_true"}
        parser.add_argument(
            option.flag,
            dest=option.name,
            default=argparse.SUPPRESS,
            required=option.required,
            help=option.text,
            **facts,
        )


def parser_of(kind: Kind) -> Callable[[str], Any]:
    """Return what argparse calls for a word of a kind."""

    def parse(text: str) -> Any:
        try:
            return kind.word(text)
        except (ValueError, OverflowError):
            raise argparse.ArgumentTypeError(
                f"must be {kind.must}, not {text!r}"
            ) from None

    return parse


def fill(args: argparse.Namespace, command: str) -> None:
    """Give every option of a command a value; ``args.given`` has those of the user."""
    names = {option.name for option in of(command)}
    args.given = {name: value for name, value in vars(args).items() if name in names}
    for option in of(command):
        if option.name not in args.given:
            setattr(args, option.name, [] if option.several else option.default)


def add_program(parser: argparse.ArgumentParser, *, default: str | None = None) -> None:
    """Add the argument PROGRAM."""
    parser.add_argument(
        "program",
        metavar="PROGRAM",
        nargs="?" if default else None,
        default=default,
        help="path/to/file.py:name, package.module:name, or a name of the zoo"
        + (f" (default: {default})" if default else ""),
    )


def add_data(
    parser: argparse.ArgumentParser, *, default: str = "the zoo program's own"
) -> None:
    """Add the argument DATA."""
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="?",
        type=parser_of(PATH),
        help=f"{formats()}; or a data set of the zoo (default: {default})",
    )


def watch(world: World, args: argparse.Namespace) -> None:
    """Give the watchdog the limit of ``--timeout``, also while data are read."""
    if args.timeout is not None:
        world.watchdog.limit = args.timeout


def loss(args: argparse.Namespace) -> Loss:
    """Return the loss of ``--loss``, else of the zoo's program, else the square.

    Raises:
        UsageError: there is no such loss.
    """
    given = given_loss(args)
    return losses.named("square" if given is None else given)


def given_loss(args: argparse.Namespace) -> str | None:
    """Return the loss of ``--loss``, else of the zoo's program, else ``None``."""
    entry = zoo_entry(args.program)
    usual = entry.options.get("loss") if entry else None
    loss: str | None = args.given.get("loss", usual)
    return loss


def penalty(args: argparse.Namespace) -> Penalty | None:
    """Return what ``--l1`` and ``--l2`` add to the loss.

    Raises:
        UsageError: one of them is negative.
    """
    return Norms(args.l1, args.l2) if args.l1 or args.l2 else None


def columns(args: argparse.Namespace) -> dict[str, str]:
    """Return what ``--columns`` says.

    Raises:
        UsageError: it has another form.
    """
    return pairs("--columns", args.columns)


def settings(args: argparse.Namespace, entry: Entry | None) -> dict[str, Any]:
    """Return the options of ``dtrain train`` as those of `dtrain.train`.

    Given options come before the zoo's, and those before the defaults.

    Raises:
        UsageError: options do not make sense, alone or together.
    """
    given = args.given
    chosen = {option.name: option.default for option in LIBRARY}
    if entry is not None:
        chosen |= entry.options
    chosen |= {name: value for name, value in given.items() if name in chosen}
    rule = {name: given[name] for name in _RULE if name in given}
    chosen["optimizer"] = optimizers.named(chosen["optimizer"], **rule)
    chosen["loss"] = loss(args)
    chosen["penalty"] = penalty(args)
    chosen["columns"] = columns(args)
    chosen["checkpoint"] = _checkpoint(args)
    chosen["validation"] = _validation(args)
    chosen["rates"] = _factors("--rate", args.rates) or None
    chosen["class_weight"] = _class_weight(args)
    if args.learning_rate_schedule != "constant" or args.warmup:
        chosen["learning_rate"] = Spanning(
            chosen["learning_rate"], args.learning_rate_schedule, args.warmup
        )
    Settings(**chosen)  # raises where a value does not fit
    return chosen


def _class_weight(args: argparse.Namespace) -> str | dict[Any, float] | None:
    words = args.class_weight
    if not words or words == [BALANCED]:
        return BALANCED if words else None
    return {
        int(label) if label.lstrip("-").isdigit() else label: factor
        for label, factor in _factors("--class-weight", words).items()
    }


def _factors(option: str, words: list[str]) -> dict[str, float]:
    factors = {}
    for name, text in pairs(option, words).items():
        try:
            factors[name] = float(AT_LEAST_0.word(text))
        except ValueError:
            raise UsageError(
                f"{option} {name}={text}: the factor must be {AT_LEAST_0.must}"
            ) from None
    return factors


def _validation(args: argparse.Namespace) -> Validation | None:
    given = {name: args.given[name] for name in _VALIDATION if name in args.given}
    if args.validation is None:
        if given:
            raise UsageError(
                f"{', '.join(given)}: needs samples to validate on "
                "(--validation FILE|SHARE)"
            )
        return None
    data = DATA[args.validation]() if args.validation in DATA else args.validation
    with suppress(ValueError):
        data = float(args.validation)
    facts = {_VALIDATION[name]: value for name, value in given.items()}
    return Validation(data, **facts)


def _checkpoint(args: argparse.Namespace) -> Checkpoint | None:
    given = {name: args.given[name] for name in _CHECKPOINT if name in args.given}
    if args.checkpoint is not None:
        facts = {_CHECKPOINT[name]: value for name, value in given.items()}
        return Checkpoint(args.checkpoint, **facts)
    if given:
        raise UsageError(
            f"{', '.join(given)}: needs a folder for checkpoints (--checkpoint DIR)"
        )
    return None
