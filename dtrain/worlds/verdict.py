"""An error that every rank raises: how one rank's error becomes that of all.

Errors of dtrain's own tree arrive as what they were. Anything else arrives as a
``RankError`` that carries the traceback of the rank that has it.
"""

from __future__ import annotations

import json
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import takewhile
from operator import eq

from dtrain.errors import DtrainError, MismatchError, RankError, UsageError

WHOLE = 60  # characters of a value that a message shows whole
BEFORE, AFTER = 20, 30  # characters that it shows around where longer ones differ


def exit_code(error: BaseException) -> int:
    """Give the code with which a process ends that raises ``error``."""
    if isinstance(error, DtrainError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, SystemExit):
        code = error.code or 0
        return code if isinstance(code, int) else 1
    return 70


def describe(error: BaseException) -> str:
    """Write what a person should read: the traceback, or what was used wrongly."""
    if isinstance(error, UsageError):
        return "".join(traceback.format_exception_only(error))
    return "".join(traceback.format_exception(error))


def encode(error: BaseException | None) -> bytes:
    """Write the error as bytes for the other ranks; none where there is no error."""
    if error is None:
        return b""
    ours = isinstance(error, DtrainError)
    fields = {
        "type": type(error).__qualname__,
        "module": type(error).__module__,
        "message": str(error) if ours else describe(error),
        "exit_code": exit_code(error),
    }
    return json.dumps(fields).encode()


def decode(data: bytes, name: str) -> DtrainError:
    """Make the error that the rank of this name has encoded, for another to raise."""
    fields = json.loads(data)
    message = fields["message"]
    kinds: list[type[DtrainError]] = [DtrainError, *descendants(DtrainError)]
    for kind in kinds:
        if (kind.__module__, kind.__qualname__) == (fields["module"], fields["type"]):
            error: DtrainError = kind.__new__(kind, message)
            DtrainError.__init__(error, message)
            break
    else:
        error = RankError(f"{name} raised\n{message.rstrip()}")
    error.exit_code = fields["exit_code"]
    return error


def descendants(kind: type[DtrainError]) -> Iterator[type[DtrainError]]:
    """List all classes below ``kind`` that this process knows."""
    for child in kind.__subclasses__():
        yield child
        yield from descendants(child)


def agreed(error: BaseException) -> bool:
    """Tell whether every rank raises this error, at the same point."""
    return getattr(error, "agreed", False)


def mark_agreed(error: BaseException, rank: int) -> BaseException:
    """Note on the error, of any class, that all ranks raise what ``rank`` found."""
    vars(error).update(agreed=True, rank=rank)
    return error


def differing_parts(texts: Sequence[str], usual: str) -> dict[str, str]:
    """Cut long texts, all alike, to the part that holds what differs from ``usual``."""
    if max(map(len, texts)) <= WHOLE:
        return {text: text for text in texts}
    firsts = [
        sum(takewhile(bool, map(eq, text, usual))) for text in texts if text != usual
    ]
    start, stop = max(min(firsts) - BEFORE, 0), max(firsts) + AFTER
    return {
        text: "…" * (start > 0) + text[start:stop] + "…" * (len(text) > stop)
        for text in texts
    }


def mismatch(
    what: str, digests: Sequence[str], names: Sequence[str]
) -> MismatchError | None:
    """Make the error that names the ranks whose digest is not the one most have.

    In a tie, what the lowest rank has is taken for right.
    """
    usual, votes = Counter(digests).most_common(1)[0]
    odd = [rank for rank, digest in enumerate(digests) if digest != usual]
    if not odd:
        return None
    shown = differing_parts(digests, usual)
    found = ", ".join(f"{names[rank]} ({shown[digests[rank]]})" for rank in odd)
    error = MismatchError(
        f"the ranks do not have the same {what}: {found} against {shown[usual]} on the "
        f"other {votes}; start every rank with the same {what}"
    )
    mark_agreed(error, odd[0])
    return error
