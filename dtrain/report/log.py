"""A log file for each rank, with a copy of its standard output and error.

Text that C code writes directly to the file descriptors, such as MPI's messages, is not
in the log; it goes to the launcher only.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import BinaryIO, TextIO

from dtrain.errors import UsageError


class Tee(io.TextIOBase):
    """A stream that also writes to a file; an error of the file is ignored."""

    def __init__(self, stream: TextIO, file: BinaryIO) -> None:
        self._stream = stream
        self._file = file

    def write(self, text: str) -> int:
        """Write to the file first, because the stream may be closed."""
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
    """Append all further output of this process to ``folder/rank-N.log``.

    Repeated calls have no effect.

    Raises:
        UsageError: the folder or the file cannot be created.
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
