"""Print tables and messages for users."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any


def print_table(rows: Mapping[str, Any]) -> None:
    """Print names and values in two columns.

    The text is plain and not wrapped to the terminal's width, so that a digest can be
    copied.
    """
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        print(f"{name:{width}}  {value}")
    sys.stdout.flush()


def print_message(text: str) -> None:
    """Print a message to standard error, with ``dtrain:`` before it."""
    print_error_line(f"dtrain: {text}")


def print_error_line(line: str) -> None:
    """Print a line to standard error; ignore errors, for example if it is closed."""
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


@contextmanager
def printing_log(shown: Callable[[], bool], *, quiet: bool) -> Iterator[None]:
    """Print log messages in this context if ``shown``; only warnings if ``quiet``."""
    log = logging.getLogger("dtrain")
    handler = _Printer()
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


class _Printer(logging.Handler):
    """A handler that prints each record."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record's message."""
        print_message(record.getMessage())
