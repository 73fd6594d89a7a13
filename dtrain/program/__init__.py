"""A Python function of one sample, traced into a flow graph.

The package and the decorator have one name, ``dtrain.program``; so the package can be
called, and is the decorator of `dtrain.program.trace`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dtrain.program.trace import Program


class _Decorator(ModuleType):
    def __call__(self, function: Callable[..., Any]) -> Program:
        from dtrain.program.trace import program

        return program(function)


sys.modules[__name__].__class__ = _Decorator
