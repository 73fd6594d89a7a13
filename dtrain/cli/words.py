"""The command line's parser, and words that have a form of their own."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from dtrain.errors import UsageError, did_you_mean


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
        if message.startswith("unrecognized"):
            words = [word for word in message.split() if word.startswith("--")]
            message += "".join(did_you_mean(word, known) for word in words)
        raise UsageError(f"{message} (see `{self.prog} --help`)")

    def print_help(self, file: Any = None) -> None:
        """Print the help, once for all ranks."""
        from dtrain.worlds.launcher import launched

        launch = launched()
        if launch is None or launch.rank == 0:
            super().print_help(file)


def pairs(option: str, texts: list[str]) -> dict[str, str]:
    """Return the ``name=value`` texts of an option as a dict.

    Raises:
        UsageError: one has another form, or a name comes twice.
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
    """Return the shapes of ``--shape`` by input.

    Raises:
        UsageError: one has another form.
    """
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
