"""One tree of errors, each with the exit code that the command line promises.

A message says what is wrong, where, and what to do. An error that every rank has
agreed on, or that every rank finds alike from the same numbers, is marked ``agreed``:
all ranks raise it together, so the job can end without being aborted.
"""

from __future__ import annotations

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
        exit_code: what ``python -m dtrain`` returns if this error ends it.
        agreed: whether every rank raises it, at the same point.
        rank: the rank that found it, or ``None`` if all found it.
    """

    exit_code = 70

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.agreed = False
        self.rank: int | None = None


class UsageError(DtrainError):
    """An option or argument that has no such value, alone or with others."""

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
    """Ranks whose weights are no longer the same."""


class RankError(DtrainError):
    """Another rank raised an error that is not of this tree; has its traceback."""


class RankLostError(DtrainError):
    """The process of another rank has ended, in the middle of the work."""

    exit_code = 71


class StoppedError(DtrainError):
    """A signal stopped the run; it was saved and can be resumed."""

    exit_code = 75
