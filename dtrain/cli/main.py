"""The command line's entrance: find the command, join the world, run, report errors.

Nothing here imports NumPy before the number of BLAS threads is set, because BLAS reads
it when NumPy is first imported.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import time
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from dtrain import __version__
from dtrain.cli.options import Parser
from dtrain.errors import DtrainError, MismatchError, StoppedError, UsageError

if TYPE_CHECKING:
    from dtrain.parallel.world import World

COMMANDS = {
    "train": "fit a program's weights to data",
    "eval": "measure how well weights fit data",
    "predict": "compute a program's output for every sample",
    "show": "print a program's flow graph",
    "check": "check a program's gradient",
}
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code, the same on every rank.

    Args:
        argv: the words after ``dtrain``; those of the process if not given.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        _set_threads(words)
        args = parse(words)
        return _run(args)
    except DtrainError as error:
        return _report(error)
    except KeyboardInterrupt:
        print("dtrain: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if not getattr(error, "agreed", False) or _speaks():
            traceback.print_exc()
        return DtrainError.exit_code


_GRACE = 0.5
"""Seconds for rank 0 to be heard: a launcher ends all ranks when the first ends."""


def parse(words: Sequence[str]) -> Namespace:
    """Parse the words; without a command, ``train`` is meant.

    Raises:
        UsageError: for words that mean nothing.
    """
    if not words or words[0] not in (*COMMANDS, "-h", "--help", "--version"):
        near = difflib.get_close_matches(words[0], COMMANDS, n=1) if words else []
        if near and ":" not in words[0]:
            raise UsageError(f"no command {words[0]!r}; did you mean {near[0]!r}?")
        words = ["train", *words]
    if words[0] in COMMANDS:
        command = words[0]
        module = importlib.import_module(f"dtrain.cli.{command}")
        parser = Parser(
            prog=f"dtrain {command}",
            description=module.__doc__,
            epilog=f"example:\n{module.EXAMPLE}",
        )
        module.add_arguments(parser)
        args = parser.parse_args(words[1:])
        args.run = module.run
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
    """Find --threads before the command is imported, which imports NumPy."""
    peek = Parser(prog="dtrain", add_help=False)
    peek.add_argument("--threads", default="1")
    threads = peek.parse_known_args(words)[0].threads
    for variable in _THREADS:
        os.environ[variable] = threads if threads.isdigit() else "1"


def _run(args: Namespace) -> int:
    from threadpoolctl import threadpool_limits

    from dtrain.parallel.launch import open_world

    world: World = open_world()
    with threadpool_limits(getattr(args, "threads", 1)):  # if NumPy was there before
        code: int = world.run(lambda rank: args.run(rank, args))
    return code


def _report(error: DtrainError) -> int:
    """Print an error that every rank has: once, by rank 0 or in its name."""
    if _speaks():
        # Rank 0 may well say what all have found; of another it is told who has.
        alone = error.agreed and error.rank and not isinstance(error, MismatchError)
        where = f"rank {error.rank}: " if alone else ""
        sys.stdout.flush()
        kind = "" if isinstance(error, StoppedError) else "error: "
        print(f"dtrain: {kind}{where}{error}", file=sys.stderr, flush=True)
    elif not error.agreed:  # before MPI has started: nobody waits for anybody
        time.sleep(_GRACE)
    return error.exit_code


def _speaks() -> bool:
    from dtrain.parallel.launcher import launched

    launch = launched()
    return launch is None or launch.rank == 0
