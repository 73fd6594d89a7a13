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


def by_output(option: str, texts: list[str]) -> str | dict[str, str] | None:
    """Return the word of an option, or its ``output=word`` texts as a dict.

    Raises:
        UsageError: there are several words without the name of an output.
    """
    if not texts:
        return None
    if len(texts) == 1 and "=" not in texts[0]:
        return texts[0]
    if plain := [text for text in texts if "=" not in text]:
        raise UsageError(
            f"{option} {plain[0]} names no output: given more than once, {option} has "
            f"the form OUTPUT={plain[0]}"
        )
    return pairs(option, texts)


def factors(losses: str | dict[str, str] | None) -> str | dict[str, Any] | None:
    """Return the losses of outputs, each ``NAME:FACTOR`` as a pair.

    Raises:
        UsageError: a factor is not a number, or stands where there is one loss.
    """
    if isinstance(losses, str) and ":" in losses:
        raise UsageError(
            f"--loss {losses} has a factor, which has a meaning among several outputs "
            f"only: --loss OUTPUT={losses}"
        )
    if not isinstance(losses, dict):
        return losses
    return {output: _with_factor(output, text) for output, text in losses.items()}


def _with_factor(output: str, text: str) -> Any:
    name, colon, factor = text.partition(":")
    if not colon:
        return name
    try:
        return name, float(factor)
    except ValueError:
        raise UsageError(
            f"--loss {output}={text}: the factor must be a number, such as {name}:0.1"
        ) from None


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
