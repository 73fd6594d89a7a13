"""Object code on disk, so that a kernel is compiled once per machine, not once per run.

Files are replaced atomically and contain their digest. If several processes need the
same code, one compiles and the others wait for it. They use a file lock, which the
operating system releases when its holder exits. A cache that cannot be read or written
costs time and prints one line to stderr; it never ends a run.
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

PATIENCE = 60.0  # seconds to wait for another process before compiling here
_POLL = 0.005
_DIGEST = hashlib.sha256().digest_size


def folder() -> Path:
    """Return ``DTRAIN_CACHE``, or dtrain's folder in the user's cache."""
    if chosen := os.environ.get("DTRAIN_CACHE"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base, "dtrain")
    try:
        return Path.home() / ".cache" / "dtrain"
    except RuntimeError as error:
        raise OSError(error) from None


def cached(key: str, make: Callable[[], bytes]) -> bytes:
    """Return the code of a key: from the cache, or made and stored there."""
    code = None
    try:
        file = folder() / f"{key}.o"
        code = _read(file)
        if code is None:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _alone(file.parent):
                code = _read(file)  # another process may have made it
                if code is None:
                    code = make()
                    _write(file, code)
    except OSError as error:
        why = error.strerror or error
        _say(f"compiled code is not kept ({why}); DTRAIN_CACHE can name a folder")
    return make() if code is None else code


def _read(file: Path) -> bytes | None:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    digest, code = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(code).digest() == digest:
        return code
    _say(f"{file} is damaged; its code is compiled again")
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
    """Hold the folder's lock, or continue without it after the time limit."""
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
    """Print a message once."""
    print(f"dtrain: {what}", file=sys.stderr)
