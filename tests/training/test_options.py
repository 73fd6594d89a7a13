"""The table of options: signature, command line and page follow from it."""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path

import pytest

import dtrain
from dtrain.cli.main import COMMANDS, parse
from dtrain.cli.rows import OPTIONS
from dtrain.errors import UsageError
from dtrain.training.rows import LIBRARY
from dtrain.training.settings import Settings
from tests.training.options_page import page

PARAMETERS = inspect.signature(dtrain.train).parameters
BESIDE = {"program", "data", "weights", "world", "callbacks"}


def test_train_has_the_options_of_the_table_with_their_defaults():
    names = {option.name for option in LIBRARY}
    assert set(PARAMETERS) == names | BESIDE
    for option in LIBRARY:
        default = PARAMETERS[option.name].default
        assert default in (option.default, inspect.Parameter.empty), option.name


def test_the_docstring_of_train_describes_every_option():
    for name in set(PARAMETERS):
        assert f"\n        {name}: " in dtrain.train.__doc__, name


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_a_row_is_complete(option):
    assert option.help
    assert not option.help.endswith(".")
    assert set(option.commands) <= set(COMMANDS)
    assert option.commands or option.library


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_stands_once_in_a_command(command):
    names = [option.name for option in OPTIONS if command in option.commands]
    assert len(names) == len(set(names))


def test_the_command_line_has_the_defaults_of_the_table():
    args = parse(["train", "lecture"])
    assert isinstance(args, argparse.Namespace)
    assert args.given == {}
    for option in OPTIONS:
        if "train" in option.commands and not option.several:
            assert getattr(args, option.name) == option.default


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", -1),
        ("epochs", 2.5),
        ("epochs", True),
        ("batch", 0),
        ("batch", "half"),
        ("threads", 0),
        ("timeout", -1),
        ("seed", "one"),
        ("columns", ["x=a"]),
        ("min_ranks", 0),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name(name, value):
    with pytest.raises(UsageError, match=rf"^{name} is .*must be"):
        Settings(**{name: value})


def test_the_options_page_is_that_of_the_table():
    text = Path(__file__, "../../../docs/options.md").resolve().read_text()
    assert text == page(), "python -m tests.training.options_page > docs/options.md"
