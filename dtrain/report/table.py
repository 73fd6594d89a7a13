"""Print tables and messages for people, on rank 0."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any


def print_table(rows: Mapping[str, Any]) -> None:
    """Print names and values in two columns.

    The table is plain text, unlike the progress bar: users copy digests, so the
    terminal's width must not wrap them.
    """
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        print(f"{name:{width}}  {value}")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print a message with the prefix ``dtrain:`` to standard error, if possible."""
    remark(f"dtrain: {text}")


def remark(line: str) -> None:
    """Print a line to standard error; ignore errors of writing."""
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


@contextmanager
def spoken(shown: Callable[[], bool], *, quiet: bool) -> Iterator[None]:
    """Print the package's log records within a ``with`` block.

    Args:
        shown: returns whether this rank prints them.
        quiet: print only warnings and errors.
    """
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
    """A handler that prints each record's message."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record's message."""
        say(record.getMessage())
