"""All errors of dtrain, each with the exit code of the command line.

A message says what is wrong, where, and what to do. An error is ``agreed`` if all ranks
raise it together: because they have exchanged it, or because each finds it in the same
numbers. Then the job can end without an abort.
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
    """The base class of all errors that dtrain raises on purpose.

    Attributes:
        exit_code: the exit code of ``python -m dtrain`` after this error.
        agreed: whether every rank raises it, at the same point.
        rank: the rank that found the error, or ``None`` if it concerns no single rank.
    """

    exit_code = 70

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.agreed = False
        self.rank: int | None = None


class UsageError(DtrainError):
    """An option, an argument or a combination of them is invalid."""

    exit_code = 2


class DataError(UsageError):
    """Data cannot be read, or do not fit the program."""


class ProgramError(UsageError):
    """A program cannot be imported or traced."""


class LaunchError(UsageError):
    """MPI started another number of ranks than the launcher announced."""


class MismatchError(UsageError):
    """Ranks were started with different data, programs or options."""


class NotFiniteError(DtrainError):
    """A loss or a GradientVector is infinite or NaN."""


class ReplicaError(DtrainError):
    """The weights of the ranks are no longer the same."""


class RankError(DtrainError):
    """Another rank raised a different exception; the message holds its traceback."""


class RankLostError(DtrainError):
    """The process of another rank has ended during the work."""

    exit_code = 71


class StoppedError(DtrainError):
    """The run was asked to stop; it has been saved and can be resumed."""

    exit_code = 75


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message that suggests the closest known name, or nothing.

    >>> did_you_mean("epohcs", ["epochs", "batch"])
    "; did you mean 'epochs'?"
    >>> did_you_mean("momentum", ["epochs", "batch"])
    ''
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def listing(names: Iterable[str]) -> str:
    """Return names for a message, the first and the last if there are many.

    >>> listing(["p", "q"])
    'p, q'
    """
    known = list(names)
    if len(known) <= 12:
        return ", ".join(known)
    return ", ".join([*known[:9], "...", known[-1]]) + f" ({len(known)} in all)"


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
    hint = did_you_mean(lower, known)
    if aliases and lower in aliases:
        hint = f"; {name!r} is called {aliases[lower]!r} here"
    return UsageError(
        f"no {kind} is named {name!r}; there are {', '.join(known)}{hint}"
    )
