"""A log file for each rank, which holds what the rank also says on its streams.

What C code writes to the process's descriptors by itself, such as MPI's own words, goes
to the launcher alone.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import BinaryIO, TextIO

from dtrain.errors import UsageError


class Tee(io.TextIOBase):
    """A stream that writes to a file, too; losing the file loses only the file."""

    def __init__(self, stream: TextIO, file: BinaryIO) -> None:
        self._stream = stream
        self._file = file

    def write(self, text: str) -> int:
        """Write to the file first, since the stream may be closed, or its reader."""
        with contextlib.suppress(OSError):
            self._file.write(text.encode(errors="replace"))
        return self._stream.write(text)

    def flush(self) -> None:
        """Flush the stream; the file has no buffer."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the stream's descriptor."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's encoding."""
        return self._stream.encoding


def keep_log(folder: str, rank: int) -> None:
    """Add what this process prints from now on to ``folder/rank-N.log``, once for all.

    Raises:
        UsageError: the folder or the file cannot be made.
    """
    if isinstance(sys.stdout, Tee):
        return
    path = Path(folder, f"rank-{rank}.log")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab", buffering=0)
    except OSError as error:
        raise UsageError(f"--log-dir: cannot write {path}: {error.strerror}") from None
    sys.stdout, sys.stderr = Tee(sys.stdout, file), Tee(sys.stderr, file)
