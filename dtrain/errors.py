"""All errors of dtrain, each with the exit code of the command line.

A message says what is wrong, where, and what to do. An error that every rank has
agreed on, or that every rank finds alike from the same numbers, is marked ``agreed``:
all ranks raise it together, so the job can end without being aborted.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

__all__ = [
    "DataError",
    "DtrainError",
    "LaunchError",
    "MismatchError",
    "NotFiniteError",
    "ProgramError",
    "RankError",
    "RankLostError",
    "ReplicaError",
    "StoppedError",
    "UsageError",
]


def __dir__() -> list[str]:
    """List the public names, for tab completion."""
    return sorted(__all__)


class DtrainError(Exception):
    """The root: everything dtrain raises on purpose.

    Attributes:
        exit_code: what ``python -m dtrain`` returns when this ends it.
        agreed: whether every rank raises it, at the same point.
        rank: the rank that found it, or ``None`` where it is nobody's in particular.
    """

    exit_code = 70

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.agreed = False
        self.rank: int | None = None


class UsageError(DtrainError):
    """An option, argument or combination of them that means nothing."""

    exit_code = 2


class DataError(UsageError):
    """Data that cannot be read, or that does not fit the program."""


class ProgramError(UsageError):
    """A program that cannot be imported or traced."""


class LaunchError(UsageError):
    """The launcher promised a world that MPI did not deliver."""


class MismatchError(UsageError):
    """Ranks that were started on different data, programs or configurations."""


class NotFiniteError(DtrainError):
    """A loss or GradientVector that is infinite or not a number."""


class ReplicaError(DtrainError):
    """Ranks whose weights have ceased to be the same."""


class RankError(DtrainError):
    """Another rank raised something that is not of this tree; carries its traceback."""


class RankLostError(DtrainError):
    """The process of another rank has ended, in the middle of the work."""

    exit_code = 71


class StoppedError(DtrainError):
    """Somebody asked the run to stop; it has been saved and can be gone on with."""

    exit_code = 75


def unknown(
    kind: str, name: str, known: Iterable[str], aliases: Mapping[str, str] | None = None
) -> UsageError:
    """Return the error for a name that is not known, with the closest known name.

    Args:
        kind: what is named, such as ``loss``.
        name: the name that was given.
        known: all names of that kind.
        aliases: names that other libraries use, in lower case, with ours.

    >>> str(unknown("loss", "MSE", ["square", "huber"], {"mse": "square"}))
    "no loss is named 'MSE'; there are square, huber; 'MSE' is called 'square' here"
    >>> str(unknown("optimizer", "adm", ["adam", "sgd"]))
    "no optimizer is named 'adm'; there are adam, sgd; did you mean 'adam'?"
    """
    known, lower = list(known), name.lower()
    near = difflib.get_close_matches(lower, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    if aliases and lower in aliases:
        hint = f"; {name!r} is called {aliases[lower]!r} here"
    return UsageError(
        f"no {kind} is named {name!r}; there are {', '.join(known)}{hint}"
    )
