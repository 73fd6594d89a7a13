"""Cache object code on disk, so a machine compiles a kernel once, not in each run.

Files are written atomically and contain a digest of their content. If several processes
need the same code, one compiles and the others wait. The lock is a file lock of the
operating system, so it is released when its process ends. If the cache cannot be read
or written, the run compiles, prints one line on stderr, and continues.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 60.0  # seconds to wait for another process before compiling as well
_POLL = 0.005
_DIGEST = hashlib.sha256().digest_size


def folder() -> Path:
    """Return the cache folder: ``DTRAIN_CACHE``, or one in the user's cache folder."""
    if own := os.environ.get("DTRAIN_CACHE"):
        return Path(own)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base, "dtrain")
    try:
        return Path.home() / ".cache" / "dtrain"
    except RuntimeError as error:
        raise OSError(error) from None


def cached(key: str, make: Callable[[], bytes]) -> bytes:
    """Return the code for a key from the cache; otherwise make and store it."""
    code = None
    try:
        file = folder() / f"{key}.o"
        code = _read(file)
        if code is None:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _alone(file.parent):
                code = _read(file)  # another process may have written it
                if code is None:
                    code = make()
                    _write(file, code)
    except OSError as error:
        why = error.strerror or error
        _say(f"cannot cache compiled code ({why}); set DTRAIN_CACHE to a folder")
    return make() if code is None else code


def _read(file: Path) -> bytes | None:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    digest, code = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(code).digest() == digest:
        return code
    _say(f"{file} is damaged; compiling its code again")
    return None


def _write(file: Path, code: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as temporary:
        try:
            temporary.write(hashlib.sha256(code).digest() + code)
            temporary.close()
            os.replace(temporary.name, file)
        except OSError:
            os.unlink(temporary.name)
            raise


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; continue without it after `PATIENCE` seconds."""
    with (folder / "lock").open("wb") as lock:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_POLL)
        yield


@functools.cache
def _say(what: str) -> None:
    """Print a message on stderr, each only once."""
    print(f"dtrain: {what}", file=sys.stderr)
