"""Tables and lines for people, on rank 0."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any


def print_table(rows: Mapping[str, Any]) -> None:
    """Print names and values in two columns.

    Plain text, unlike the progress bar: a digest is to be copied, and must not be
    folded to the width of some terminal.
    """
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        print(f"{name:{width}}  {value}")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print a line that is no result: to standard error, if anybody is there."""
    remark(f"dtrain: {text}")


def remark(line: str) -> None:
    """Print a line to standard error; continue if it cannot be written."""
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


@contextmanager
def spoken(shown: Callable[[], bool], *, quiet: bool) -> Iterator[None]:
    """Say what is logged meanwhile, where ``shown``; warnings only if quiet."""
    log = logging.getLogger("dtrain")
    handler = _Say()
    handler.addFilter(lambda _: shown())
    handler.setLevel(logging.WARNING if quiet else logging.INFO)
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


class _Say(logging.Handler):
    """Says each record."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print its message."""
        say(record.getMessage())
