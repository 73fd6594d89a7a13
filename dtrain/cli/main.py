"""The command line's entrance: find the command, join the world, run, report errors.

Nothing here imports NumPy before the number of BLAS threads and the processor's
features are set, because they are read when NumPy is first imported.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
import time
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from dtrain import __version__
from dtrain.cli.words import Parser
from dtrain.errors import (
    DtrainError,
    MismatchError,
    StoppedError,
    UsageError,
    did_you_mean,
)
from dtrain.host import pinning

if TYPE_CHECKING:
    from dtrain.worlds.world import World

COMMANDS = {
    "train": "fit a program's weights to data",
    "eval": "measure how well weights fit data",
    "predict": "compute a program's output for every sample",
    "convert": "write data as a folder that ranks map: for data larger than memory",
    "show": "print or draw a program's flow graph",
    "explain": "explain a program at one point, forward and backward",
    "check": "check a program's gradient",
    "doctor": "look for what is wrong with ranks, hosts and launcher",
}
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code, the same on every rank.

    Args:
        argv: the words after ``dtrain``; those of the process if not given.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    _open_streams()
    streams = sys.stdout, sys.stderr
    try:
        _set_threads(words)
        _set_bits(words)
        args = parse(words)
        return _run(args)
    except DtrainError as error:
        return _report(error)
    except KeyboardInterrupt:
        print("dtrain: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        from dtrain.worlds.opening import is_rank_0

        if not getattr(error, "agreed", False) or is_rank_0():
            traceback.print_exc()
        return DtrainError.exit_code
    finally:
        sys.stdout, sys.stderr = streams  # --log-dir has put others in their places


def _open_streams() -> None:
    """Make standard streams that can be written to, whatever there is to say.

    What this process was started without is opened, so that no other file gets in
    there: descriptors 1 and 2 are written to by Python, MPI and BLAS, whatever they
    are. A character that the terminal's encoding does not have is escaped.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for the whole process)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


_OUTPUT_FAULTS = {
    getattr(errno, name)
    for name in ("EPIPE", "EBADF", "ENOSPC", "EDQUOT", "EFBIG", "EIO")
}
_GRACE = 0.5
"""Seconds for rank 0 to be heard: a launcher ends all ranks when the first ends."""


def parse(words: Sequence[str]) -> Namespace:
    """Parse the words; without a command, ``train`` is meant.

    Raises:
        UsageError: for words that mean nothing.
    """
    if not words or words[0] not in (*COMMANDS, "-h", "--help", "--version"):
        hint = did_you_mean(words[0], COMMANDS) if words else ""
        if hint and ":" not in words[0]:
            raise UsageError(f"no command {words[0]!r}{hint}")
        words = ["train", *words]
    if words[0] in COMMANDS:
        from dtrain.cli import options
        from dtrain.worlds.opening import open_world

        command = words[0]
        module = importlib.import_module(f"dtrain.cli.{command}")
        parser = Parser(
            prog=f"dtrain {command}",
            description=module.__doc__,
            epilog=f"example:\n{module.EXAMPLE}",
        )
        module.add_arguments(parser)
        args = parser.parse_intermixed_args(words[1:])
        options.fill(args, command)
        args.run, args.join = module.run, vars(module).get("join", open_world)
        return args
    return _parse_top(words)


def _parse_top(words: Sequence[str]) -> NoReturn:
    """Answer ``--help`` and ``--version``."""
    commands = "\n".join(f"  {name:8} {does}" for name, does in COMMANDS.items())
    parser: ArgumentParser = Parser(
        prog="dtrain",
        description="Train parameterized programs on 1 to P ranks, with the same "
        f"bits.\n\ncommands:\n{commands}\n\n`dtrain COMMAND --help` says more. "
        "Without a command, `train` is meant.",
        epilog="example:\n  mpirun -n 4 python -m dtrain",
    )
    parser.add_argument("--version", action="version", version=f"dtrain {__version__}")
    parser.parse_args(words)
    raise UsageError(f"no command {words[0]!r}; there are {', '.join(COMMANDS)}")


def _set_threads(words: Sequence[str]) -> None:
    """Find BLAS's threads before the command is imported, which imports NumPy."""
    peek = Parser(prog="dtrain", add_help=False)
    peek.add_argument("--threads", default="1")
    peek.add_argument("--execution", default="sequential")
    found = peek.parse_known_args(words)[0]
    inside = found.execution == "sequential" and found.threads.isdigit()
    for variable in _THREADS:
        os.environ[variable] = found.threads if inside else "1"


def _set_bits(words: Sequence[str]) -> None:
    """Pin the processor's features, if asked to, before NumPy reads them."""
    peek = Parser(prog="dtrain", add_help=False)
    peek.add_argument("--bits", default=pinning.chosen())
    pinning.choose(peek.parse_known_args(words)[0].bits)


def _run(args: Namespace) -> int:
    from dtrain.host import numerics
    from dtrain.host.blas import blas_threads
    from dtrain.problem.agreement import together
    from dtrain.training.recovery import recovering

    def work(rank: World, args: Namespace) -> int:
        def check() -> None:
            with together(rank):
                numerics.check_pins()

        recovering(rank, check)
        code: int = args.run(rank, args)
        return code

    world: World = args.join(getattr(args, "timeout", None))
    threads = int(os.environ[_THREADS[0]])
    with blas_threads(threads):  # if NumPy was imported before
        return world.run(lambda rank: _printed(work, rank, args))


def _printed(run: Callable[..., int], world: World, args: Namespace) -> int:
    """Run; if output cannot be written, the other ranks are not affected.

    Results are printed last, when the work itself is done. Rank 0, whichever process
    that is then, prints what is logged meanwhile.
    """
    from dtrain.report.table import printing_log

    quiet = vars(args).get("quiet", False)
    try:
        with printing_log(lambda: world.rank == 0, quiet=quiet):
            code = run(world, args)
        sys.stdout.flush()
    except OSError as error:
        # Files are opened and written where their errors become messages.
        if error.filename is not None or error.errno not in _OUTPUT_FAULTS:
            raise
        # What is still in its buffer would raise again when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # its reader has left
            return 141
        return _report(UsageError(f"cannot write to standard output: {error.strerror}"))
    return code


def _report(error: DtrainError) -> int:
    """Print an error that every rank has: once, by rank 0 or in its name."""
    from dtrain.worlds.opening import is_rank_0

    if is_rank_0():
        # If another rank than 0 found the error, the message names it.
        alone = error.agreed and error.rank and not isinstance(error, MismatchError)
        where = f"rank {error.rank}: " if alone else ""
        kind = "" if isinstance(error, StoppedError) else "error: "
        with suppress(OSError, ValueError):  # the reader may have left
            sys.stdout.flush()
            print(f"dtrain: {kind}{where}{error}", file=sys.stderr, flush=True)
    elif not error.agreed:  # before MPI has started, no rank waits for another
        time.sleep(_GRACE)
    return error.exit_code
