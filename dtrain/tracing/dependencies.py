"""The globals, closures and defaults that a program's graph depends on.

A graph can be reused for the same program as long as none of these has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from dtrain.functions.base import BaseFunction
from dtrain.tracing.source import is_machinery

_CONSTANTS = (
    *(int, float, complex, str, bytes, bool, type(None)),
    *(np.generic, np.dtype, np.ufunc, BaseFunction),
)


class Dependencies:
    """The objects that a function and the user's functions it calls refer to.

    Args:
        function: a Python function.

    Attributes:
        known: whether all of them are modules, functions or constants. Others, such as
            lists or objects of the user's classes, can change without a trace.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._names: list[tuple[Mapping[str, Any], str, Any]] = []
        self._cells: list[tuple[CellType, Any]] = []
        self._seen: set[int] = set()
        self.known = self._function(function)

    def unchanged(self) -> bool:
        """Return whether every name still refers to the object it referred to."""
        return all(space.get(name) is x for space, name, x in self._names) and all(
            cell.cell_contents is x for cell, x in self._cells
        )

    def _function(self, function: Any) -> bool:
        """Record a function's references; return whether all of them are known."""
        if not isinstance(function, FunctionType):
            return False
        if id(function) in self._seen:
            return True
        self._seen.add(id(function))
        names = set(_names(function.__code__))
        for name in sorted(names & function.__globals__.keys()):
            x = function.__globals__[name]
            self._names.append((function.__globals__, name, x))
            if not self._object(x, names):
                return False
        for cell in function.__closure__ or ():
            try:
                x = cell.cell_contents
            except ValueError:  # a name that is not assigned yet
                return False
            self._cells.append((cell, x))
            if not self._object(x, names):
                return False
        defaults = (
            *(function.__defaults__ or ()),
            *(function.__kwdefaults__ or {}).values(),
        )
        return all(self._object(x, names) for x in defaults)

    def _object(self, x: Any, names: set[str]) -> bool:
        if isinstance(x, _CONSTANTS):
            return True
        if isinstance(x, tuple | frozenset):
            return all(self._object(part, names) for part in x)
        wrapped = getattr(x, "function", None)  # of a Program
        if isinstance(wrapped, FunctionType):
            return self._function(wrapped)
        if isinstance(x, ModuleType):
            return self._module(x, names)
        where = getattr(x, "__module__", None) or ""
        if where.partition(".")[0] in ("dtrain", "numpy", "builtins", "math"):
            return callable(x)
        return self._function(x)

    def _module(self, module: ModuleType, names: set[str]) -> bool:
        """Record the names used from a user's module; other modules do not change."""
        file = getattr(module, "__file__", None)
        if file is None or is_machinery(file) or "site-packages" in file:
            return True
        for name in sorted(names & module.__dict__.keys()):
            x = module.__dict__[name]
            self._names.append((module.__dict__, name, x))
            if not self._object(x, names):
                return False
        return True


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names that code and the code inside it refers to."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
