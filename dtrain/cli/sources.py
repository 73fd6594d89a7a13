"""Where a command's program and data come from: a file, a module, the zoo."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dtrain.errors import ProgramError, UsageError, did_you_mean

if TYPE_CHECKING:
    from dtrain.data.columns import Dataset
    from dtrain.tracing.trace import Program
    from dtrain.zoo import Entry


def zoo_entry(name: str) -> Entry | None:
    """Return the zoo's entry for PROGRAM, if it is a name of the zoo."""
    from dtrain.zoo import ENTRIES

    return ENTRIES.get(name)


def load_program(text: str) -> Program:
    """Return the program that PROGRAM names.

    Raises:
        ProgramError: if there is none, or its file cannot be imported; the message
            shows the user's own frames.
    """
    entry = zoo_entry(text)
    if entry is not None:
        return entry.program
    where, colon, name = text.rpartition(":")
    if not colon or not where or not name:
        if text.endswith(".py") and os.path.isfile(text):
            raise ProgramError(f"say which program of the file: {text}:name")
        raise ProgramError(_unknown_program(text))
    module = _import_file(where) if where.endswith(".py") else _import_module(where)
    return _program_in(module, where, name)


def load_data(
    text: str | None,
    entry: Entry | None,
    *,
    held_out: bool = False,
    separator: str | None = None,
) -> Dataset:
    """The data set that DATA names; that of the zoo's program if there is no DATA.

    Args:
        text: DATA.
        entry: the zoo's entry for the program.
        held_out: without DATA, whether the samples kept out of training are meant.
        separator: what separates the columns of a text file.

    Raises:
        UsageError: if there is neither, or a separator without a text file.
    """
    from dtrain.data.readers import formats, open_data
    from dtrain.zoo import DATA, heldout

    if text is None:
        if entry is None:
            raise UsageError(
                f"DATA is missing: give {formats()}; or one of " + ", ".join(DATA)
            )
        text = (heldout(entry.data) if held_out else None) or entry.data
    return open_data(DATA[text]() if text in DATA else text, separator)


def _unknown_program(text: str) -> str:
    from dtrain.zoo import ENTRIES

    return (
        f"no program {text!r}; give path/to/file.py:name, package.module:name, or a "
        f"name of the zoo: {', '.join(ENTRIES)}{did_you_mean(text, ENTRIES)}"
    )


def _import_file(where: str) -> Any:
    path = Path(where)
    if not os.path.isfile(path):  # unlike Path's, whatever the name may be
        raise ProgramError(f"there is no program file {where}")
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        raise ProgramError(f"{where} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    sys.path.insert(0, str(path.resolve().parent))  # as for `python file.py`
    _guarded(lambda: spec.loader.exec_module(module), where)
    return module


def _import_module(where: str) -> Any:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as for `python -m`
    found: list[Any] = []
    _guarded(lambda: found.append(importlib.import_module(where)), where)
    return found[0]


def _guarded(execute: Any, where: str) -> None:
    """Import; what the user's code raises becomes a message with their frames."""
    from dtrain.tracing.trace import user_frames

    try:
        execute()
    except ProgramError:
        raise
    except (Exception, SystemExit) as error:
        raise ProgramError(f"cannot import {where}\n{user_frames(error)}") from None


def _program_in(module: Any, where: str, name: str) -> Program:
    from dtrain.tracing.trace import Program

    found = getattr(module, name, None)
    if isinstance(found, Program):
        return found
    if callable(found):
        raise ProgramError(f"{name} in {where} is no program: mark it with @program")
    there = [key for key, value in vars(module).items() if isinstance(value, Program)]
    raise ProgramError(
        f"{where} has no program {name!r}; "
        + (f"it has {', '.join(there)}" if there else "it has none at all")
    )


def files_read(args: argparse.Namespace, program: Program) -> dict[str, str | None]:
    """Return the files that a command reads: a command must not write over them.

    The program is loaded, so that all modules it is made of are known, by whatever name
    PROGRAM calls them.
    """
    from dtrain.zoo import DATA

    given = vars(args)
    data = given.get("data")
    code = getattr(inspect.unwrap(program.function), "__code__", None)
    modules = {
        f"module {name}": module.__dict__.get("__file__")
        for name, module in list(sys.modules.items())
        if isinstance(module, ModuleType)
    }
    return {
        "the program's file": code.co_filename if code else None,
        "PROGRAM's file": args.program.rpartition(":")[0],
        "the data": None if data in DATA else data,
        "the validation data": given.get("validation"),
        "the weights": given.get("weights"),
        "the checkpoints": given.get("checkpoint"),
        **modules,
    }
