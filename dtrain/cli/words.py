"""The command line's parser, and what its words may be: counts, numbers, pairs."""

from __future__ import annotations

import argparse
import difflib
import math
from typing import Any, NoReturn

from dtrain.errors import UsageError
from dtrain.worlds.watchdog import LONGEST

_MOST = 10**9  # what C takes for a count, and memory for a list
_BOUND = f", and {_MOST:,} at most"


class Parser(argparse.ArgumentParser):
    """A parser that raises its errors and keeps the lines of its texts."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,
        )

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print, with a guess at a mistyped option."""
        known = [option for action in self._actions for option in action.option_strings]
        guesses = [
            near[0]
            for word in message.split()
            if word.startswith("--")
            for near in [difflib.get_close_matches(word, known, n=1)]
            if near and near[0] != word
        ]
        if message.startswith("unrecognized") and guesses:
            message += f"; did you mean {' '.join(guesses)}?"
        raise UsageError(f"{message} (see `{self.prog} --help`)")

    def print_help(self, file: Any = None) -> None:
        """Print the help, once for all ranks."""
        from dtrain.worlds.launcher import launched

        launch = launched()
        if launch is None or launch.rank == 0:
            super().print_help(file)


def count(text: str) -> int:
    """A whole number of 1 or more, for argparse."""
    return _at_least(1, text, f"a whole number of 1 or more{_BOUND}")


def count_or_none(text: str) -> int:
    """A whole number of 0 or more, for argparse."""
    return _at_least(0, text, f"a whole number of 0 or more{_BOUND}")


def batch_size(text: str) -> int | None:
    """A batch size, or ``full`` for all samples."""
    if text == "full":
        return None
    return _at_least(1, text, f"full, or a whole number of 1 or more{_BOUND}")


def whole_number(text: str) -> int:
    """A whole number of either sign, for argparse."""
    try:
        return int(text)
    except ValueError:
        raise _must_be("a whole number", text) from None


def number(text: str) -> float:
    """A finite number, for argparse."""
    try:
        value = float(text)
    except ValueError:
        raise _must_be("a number", text) from None
    if not math.isfinite(value):
        raise _must_be("a finite number", text)
    return value


def seconds(text: str) -> float:
    """A time, for argparse."""
    value = number(text)
    if not 0 <= value <= LONGEST:
        raise _must_be(f"seconds, 0 or more, and {LONGEST:,.0f} at most", text)
    return value


def path(text: str) -> str:
    """A path, for argparse; no text at all would mean the current folder."""
    if not text:
        raise _must_be("a path", text)
    return text


def _at_least(least: int, text: str, what: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise _must_be(what, text) from None
    if not least <= number <= _MOST:
        raise _must_be(what, text)
    return number


def _must_be(what: str, text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"must be {what}, not {text!r}")


def pairs(option: str, texts: list[str]) -> dict[str, str]:
    """The ``name=value`` texts of an option.

    Raises:
        UsageError: if one has another form, or a name comes twice.
    """
    result: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals or not value:
            raise UsageError(f"{option} {text!r} must have the form name=value")
        if name in result:
            raise UsageError(f"{option} names {name!r} twice")
        result[name] = value
    return result


def shapes(texts: list[str]) -> dict[str, tuple[int, ...]]:
    """The shapes that ``--shape`` gives."""
    result = {}
    for name, value in pairs("--shape", texts).items():
        try:
            sizes = tuple(int(size) for size in value.split(","))
        except ValueError:
            raise UsageError(f"--shape {name}={value}: sizes are numbers") from None
        if min(sizes) < 0:
            raise UsageError(f"--shape {name}={value}: sizes are not negative")
        result[name] = sizes
    return result
