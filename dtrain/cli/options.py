"""What commands share: the parser, the program, the data, and their options."""

from __future__ import annotations

import argparse
import difflib
import importlib
import importlib.util
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dtrain.errors import ProgramError, UsageError

if TYPE_CHECKING:
    from dtrain.data.columns import Dataset
    from dtrain.descent.losses import Loss
    from dtrain.descent.penalties import Penalty
    from dtrain.program.trace import Program
    from dtrain.training.settings import Saving
    from dtrain.zoo import Entry


HELD_OUT = "what the zoo keeps out of training"  # DATA, where weights are judged


class Parser(argparse.ArgumentParser):
    """A parser that raises its errors and keeps the lines of its texts."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,
        )

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print, with a guess at a mistyped option."""
        known = [option for action in self._actions for option in action.option_strings]
        guesses = [
            near[0]
            for word in message.split()
            if word.startswith("--")
            for near in [difflib.get_close_matches(word, known, n=1)]
            if near and near[0] != word
        ]
        if message.startswith("unrecognized") and guesses:
            message += f"; did you mean {' '.join(guesses)}?"
        raise UsageError(f"{message} (see `{self.prog} --help`)")

    def print_help(self, file: Any = None) -> None:
        """Print the help, once for all ranks."""
        from dtrain.parallel.launcher import launched

        launch = launched()
        if launch is None or launch.rank == 0:
            super().print_help(file)


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
    add("--checkpoint", metavar="DIR", help="save the run in this folder as it goes")
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


def count(text: str) -> int:
    """A whole number of 1 or more, for argparse."""
    return _at_least(1, text, "a whole number of 1 or more")


def count_or_none(text: str) -> int:
    """A whole number of 0 or more, for argparse."""
    return _at_least(0, text, "a whole number of 0 or more")


def batch_size(text: str) -> int | None:
    """A batch size, or ``full`` for all samples."""
    if text == "full":
        return None
    return _at_least(1, text, "full, or a whole number of 1 or more")


def whole_number(text: str) -> int:
    """A whole number of either sign, for argparse."""
    try:
        return int(text)
    except ValueError:
        raise _must_be("a whole number", text) from None


def number(text: str) -> float:
    """A finite number, for argparse."""
    try:
        value = float(text)
    except ValueError:
        raise _must_be("a number", text) from None
    if not math.isfinite(value):
        raise _must_be("a finite number", text)
    return value


def seconds(text: str) -> float:
    """A time, for argparse."""
    value = number(text)
    if value < 0:
        raise _must_be("seconds, 0 or more", text)
    return value


def _at_least(least: int, text: str, what: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise _must_be(what, text) from None
    if number < least:
        raise _must_be(what, text)
    return number


def _must_be(what: str, text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"must be {what}, not {text!r}")


def pairs(option: str, texts: list[str]) -> dict[str, str]:
    """The ``name=value`` texts of an option.

    Raises:
        UsageError: if one has another form, or a name comes twice.
    """
    result: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals or not value:
            raise UsageError(f"{option} {text!r} must have the form name=value")
        if name in result:
            raise UsageError(f"{option} names {name!r} twice")
        result[name] = value
    return result


def shapes(texts: list[str]) -> dict[str, tuple[int, ...]]:
    """The shapes that ``--shape`` gives."""
    result = {}
    for name, value in pairs("--shape", texts).items():
        try:
            sizes = tuple(int(size) for size in value.split(","))
        except ValueError:
            raise UsageError(f"--shape {name}={value}: sizes are numbers") from None
        if min(sizes) < 0:
            raise UsageError(f"--shape {name}={value}: sizes are not negative")
        result[name] = sizes
    return result


def zoo_entry(name: str) -> Entry | None:
    """The zoo's entry for PROGRAM, if it is a name of the zoo."""
    from dtrain.zoo import ENTRIES

    return ENTRIES.get(name)


def load_program(text: str) -> Program:
    """The program that PROGRAM names.

    Raises:
        ProgramError: if there is none, or its file cannot be imported; the message
            shows the user's own frames.
    """
    entry = zoo_entry(text)
    if entry is not None:
        return entry.program
    where, colon, name = text.rpartition(":")
    if not colon or not where or not name:
        if text.endswith(".py") and Path(text).is_file():
            raise ProgramError(f"say which program of the file: {text}:name")
        raise ProgramError(_unknown_program(text))
    module = _import_file(where) if where.endswith(".py") else _import_module(where)
    return _program_in(module, where, name)


def load_data(
    text: str | None, entry: Entry | None, *, held_out: bool = False
) -> Dataset:
    """The data set that DATA names; that of the zoo's program if there is no DATA.

    Args:
        text: DATA.
        entry: the zoo's entry for the program.
        held_out: without DATA, whether the samples kept out of training are meant.

    Raises:
        UsageError: if there is neither.
    """
    from dtrain.data.readers import open_data
    from dtrain.zoo import DATA, heldout

    if text is None:
        if entry is None:
            raise UsageError(
                "DATA is missing: a .npz, a folder of .npy, a .csv, or one of "
                + ", ".join(DATA)
            )
        text = (heldout(entry.data) if held_out else None) or entry.data
    return DATA[text]() if text in DATA else open_data(text)


def _unknown_program(text: str) -> str:
    from dtrain.zoo import ENTRIES

    near = difflib.get_close_matches(text, ENTRIES, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return (
        f"no program {text!r}; give path/to/file.py:name, package.module:name, or a "
        f"name of the zoo: {', '.join(ENTRIES)}.{guess}"
    )


def _import_file(where: str) -> Any:
    path = Path(where)
    if not path.is_file():
        raise ProgramError(f"there is no program file {where}")
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        raise ProgramError(f"{where} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    sys.path.insert(0, str(path.resolve().parent))  # as for `python file.py`
    _guarded(lambda: spec.loader.exec_module(module), where)
    return module


def _import_module(where: str) -> Any:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as for `python -m`
    found: list[Any] = []
    _guarded(lambda: found.append(importlib.import_module(where)), where)
    return found[0]


def _guarded(execute: Any, where: str) -> None:
    """Import; what the user's code raises becomes a message with their frames."""
    from dtrain.program.trace import user_frames

    try:
        execute()
    except ProgramError:
        raise
    except (Exception, SystemExit) as error:
        raise ProgramError(f"cannot import {where}\n{user_frames(error)}") from None


def _program_in(module: Any, where: str, name: str) -> Program:
    from dtrain.program.trace import Program

    found = getattr(module, name, None)
    if isinstance(found, Program):
        return found
    if callable(found):
        raise ProgramError(f"{name} in {where} is no program: mark it with @program")
    there = [key for key, value in vars(module).items() if isinstance(value, Program)]
    raise ProgramError(
        f"{where} has no program {name!r}; "
        + (f"it has {', '.join(there)}" if there else "it has none at all")
    )


def files_read(args: argparse.Namespace) -> dict[str, str | None]:
    """The files that a command reads: a command must not write over them."""
    return {
        "the program's file": args.program.rpartition(":")[0],
        "the data": args.data,
        "the weights": getattr(args, "weights", None),
    }


def bound_columns(args: argparse.Namespace) -> Mapping[str, str]:
    """What ``--columns`` says."""
    return pairs("--columns", args.columns)
