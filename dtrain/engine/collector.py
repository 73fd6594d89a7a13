"""Pausing Python's collector of cycles while many objects are made that stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Let the collector of cycles rest.

    A graph and its plan are hundreds of thousands of objects, none of them garbage;
    looking through them again and again took a quarter of the time to the first step.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
