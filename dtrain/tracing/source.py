"""The line of the user's source that made a node."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from types import FrameType
from typing import NamedTuple

import numpy as np

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Messages name a line of the user's. Frames of dtrain and NumPy are skipped; those of
# the zoo are not, because its programs are written as a user would write them.
_ZOO = os.path.join(_PACKAGE, "zoo") + os.sep
_MACHINERY = (
    _PACKAGE + os.sep,
    os.path.dirname(os.path.abspath(np.__file__)) + os.sep,
)


class Source(NamedTuple):
    """A file and a line in it; printed as ``file:line``."""

    file: str
    line: int

    def __str__(self) -> str:
        """Return ``file:line``, which editors and terminals understand."""
        file = os.path.relpath(self.file) if os.path.isabs(self.file) else self.file
        return f"{self.file if file.startswith('..') else file}:{self.line}"


@cache
def is_machinery(file: str) -> bool:
    """Return whether a file belongs to dtrain, NumPy or SciPy and not to the user."""
    if file.startswith(("<stdin", "<string", "<ipython", "<doctest", _ZOO)):
        return False
    return file.startswith(("<", *_MACHINERY, *_of_scipy()))


def _of_scipy() -> tuple[str, ...]:
    """Return SciPy's folder, if SciPy was imported."""
    file = getattr(sys.modules.get("scipy"), "__file__", None)
    return (os.path.dirname(os.path.abspath(file)) + os.sep,) if file else ()


def here() -> Source:
    """Return the user's innermost line of the call stack."""
    for frame in _stack():
        file = frame.f_code.co_filename
        if not is_machinery(file):
            return Source(file, frame.f_lineno)
    return Source("<unknown>", 0)


def called(package: str) -> str:
    """Return the function of a package that the user's line calls, or ``None``."""
    name = ""
    for frame in _stack():
        if not is_machinery(frame.f_code.co_filename):
            break
        module = frame.f_globals.get("__name__", "")
        if module.startswith(package):
            name = f"{module}.{frame.f_code.co_name}"
    return name


def _stack() -> Iterator[FrameType]:
    """Yield the call stack, from the innermost frame on."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back
