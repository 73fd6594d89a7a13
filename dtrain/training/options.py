"""The table of options: one row for each, from which everything else follows.

A row has the option's name, default, kind of value, help, where it applies, and whether
it changes bits. The command line, the validation of values, the identity of a run in
its checkpoints and the page of options are made from these rows.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from dtrain.errors import UsageError
from dtrain.worlds.watchdog import LONGEST

MOST = 10**9
"""The largest count: more than C takes, and than memory holds."""


@dataclass(frozen=True)
class Kind:
    """A kind of value.

    Attributes:
        must: what a value must be, for messages.
        fits: whether a Python value is one.
        parse: makes a value of a command line's word; raises ValueError if it is none.
    """

    must: str
    fits: Callable[[Any], bool]
    parse: Callable[[str], Any]

    def check(self, name: str, value: Any) -> None:
        """Refuse a value of another kind.

        Raises:
            UsageError: saying what it must be.
        """
        if not self.fits(value):
            raise UsageError(f"{name} is {value!r}; it must be {self.must}")

    def word(self, text: str) -> Any:
        """Return the value of a word.

        Raises:
            ValueError: the word is not of this kind.
        """
        value = self.parse(text)
        if not self.fits(value):
            raise ValueError(text)
        return value


def whole(least: int) -> Kind:
    """Return the kind of whole numbers that are not less."""
    return Kind(
        f"a whole number of {least} or more, and {MOST:,} at most",
        lambda value: _is_whole(value) and least <= value <= MOST,
        int,
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    )


INTEGER = Kind("a whole number", _is_whole, int)
NUMBER = Kind("a finite number", _is_number, float)
ABOVE_0 = Kind("a number above 0", lambda value: _is_number(value) and value > 0, float)
AT_LEAST_0 = Kind(
    "a number of 0 or more", lambda value: _is_number(value) and value >= 0, float
)
SECONDS = Kind(
    f"seconds, 0 or more, and {LONGEST:,.0f} at most",
    lambda value: _is_number(value) and 0 <= value <= LONGEST,
    float,
)
PATH = Kind(
    "a path",
    lambda value: isinstance(value, str | os.PathLike) and bool(os.fspath(value)),
    str,
)
FOLDER = Kind(
    "a path",
    lambda value: not isinstance(value, str | os.PathLike) or PATH.fits(value),
    str,
)
"""In Python also a `Checkpoint`, which checks itself."""
TEXT = Kind("a name", lambda value: isinstance(value, str), str)
FLAG = Kind("True or False", lambda value: isinstance(value, bool), bool)
ANYTHING = Kind("anything", lambda _: True, str)
"""Checked where its meaning is known, such as a loss or an optimizer."""
RATE = Kind("a finite number", lambda _: True, lambda text: NUMBER.word(text))
"""In Python also a function of the step; checked where the schedule is made."""
COLUMNS = Kind(
    "a mapping of names of inputs to columns, such as {'p': 'a'} or {'x': ['a', 'b']}",
    lambda value: (
        isinstance(value, Mapping)
        and all(isinstance(name, str) for name in value)
        and all(map(_are_columns, value.values()))
    ),
    str,
)


CLASSES = Kind(
    "balanced, or a mapping of labels to factors of 0 or more, such as {0: 1, 1: 2.5}",
    lambda value: (
        value == "balanced"
        or (isinstance(value, Mapping) and all(map(AT_LEAST_0.fits, value.values())))
    ),
    str,
)


FACTORS = Kind(
    "a mapping of patterns to factors of 0 or more, such as {'head.*': 0.1}",
    lambda value: (
        isinstance(value, Mapping)
        and all(isinstance(pattern, str) for pattern in value)
        and all(map(AT_LEAST_0.fits, value.values()))
    ),
    str,
)
PATTERNS = Kind(
    "a list of patterns of names of weights, such as ['encoder.*']",
    lambda value: (
        isinstance(value, list | tuple)
        and all(isinstance(pattern, str) for pattern in value)
    ),
    str,
)


def _are_columns(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    )


SEPARATOR = Kind(
    "one character, or the word tab",
    lambda value: isinstance(value, str) and len(value) == 1,
    lambda text: "\t" if text in ("tab", "\\t") else text,
)


def full_or(kind: Kind) -> Kind:
    """Return the kind that also takes the word ``full``, which is ``None``."""
    return Kind(
        f"full, or {kind.must}",
        lambda value: value is None or value == "full" or kind.fits(value),
        lambda text: None if text == "full" else kind.parse(text),
    )


@dataclass(frozen=True, kw_only=True)
class Option:
    """A row of the table.

    Attributes:
        name: as a parameter of Python functions; ``--name`` with hyphens in a command.
        kind: the kind of its values.
        help: what it does, in one line; the default is added to it.
        default: its value if it is not given.
        python: what else it may be in Python.
        word: its name on the command line, if it is another one.
        shown: the default as the help shows it; empty to show none.
        metavar: the word that stands for its value.
        commands: the commands that have it.
        library: whether `dtrain.train` has it as a parameter.
        bits: whether another value gives other bits: a checkpoint of a run with another
            value is refused.
        report: whether its value is in the report of a run.
        several: whether a command takes it several times.
        required: whether a command refuses to run without it.
        aliases: what other libraries call it, for messages.
        alone: its value if a command names it without a value; ``None``: not allowed.
    """

    name: str
    kind: Kind
    help: str
    default: Any = None
    python: str = ""
    word: str = ""
    shown: str = ""
    metavar: str = ""
    commands: tuple[str, ...] = ("train",)
    library: bool = True
    bits: bool = False
    report: bool = False
    several: bool = False
    required: bool = False
    alone: Any = None
    aliases: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The option's name on the command line."""
        return f"--{(self.word or self.name).replace('_', '-')}"

    @property
    def text(self) -> str:
        """The help of a command, with the default."""
        return f"{self.help} ({self.shown})" if self.shown else self.help

    @property
    def python_text(self) -> str:
        """The line of a docstring, with the default."""
        more = f"; or {self.python}" if self.python else ""
        return f"{self.help}{more}" + (f" ({self.shown})" if self.shown else "")

    def check(self, value: Any) -> None:
        """Refuse a value that is not of the option's kind; its default is always one.

        Raises:
            UsageError: saying what it must be.
        """
        if not (value is self.default and value is None):
            self.kind.check(self.name, value)
