"""Help: every command has it, and its examples run as they stand."""

import importlib
import shlex

import pytest

from dtrain import __version__
from dtrain.cli.main import COMMANDS


def example_of(text):
    """The lines of the example that a help ends with, without ``dtrain``."""
    lines = text.split("\nexample:\n")[1].strip().splitlines()
    words = [shlex.split(line) for line in lines]
    assert all(line[0] == "dtrain" for line in words)
    return [line[1:] for line in words]


def test_every_command_has_a_help_that_says_what_it_does(dtrain, command):
    answer = dtrain(command, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"usage: dtrain {command} ")
    module = importlib.import_module(f"dtrain.cli.{command}")
    assert module.__doc__.splitlines()[0] in answer.out
    assert all(len(line) <= 88 for line in answer.out.splitlines())


def test_the_example_of_every_help_runs_as_it_stands(dtrain, command):
    lines = example_of(dtrain(command, "--help").out)
    assert command in {words[0] for words in lines}
    for words in lines:
        answer = dtrain(*words)
        assert answer.code == 0, answer.err


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_the_help_of_all_names_every_command(dtrain, word):
    answer = dtrain(word)
    assert (answer.code, answer.err) == (0, "")
    for name, does in COMMANDS.items():
        assert f"{name:8} {does}\n" in answer.out


def test_the_version(dtrain):
    answer = dtrain("--version")
    assert (answer.code, answer.out) == (0, f"dtrain {__version__}\n")
