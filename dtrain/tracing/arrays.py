"""``np.array`` of values of a program, which stacks them.

NumPy's protocols do not reach the functions that make an array of a list, so they are
replaced while a program is traced. For anything else they do what they always do.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from dtrain.tracing.source import called
from dtrain.tracing.symbol import Symbol

_NAMES = ("array", "asarray", "asanyarray")
_LOCK = threading.Lock()  # ranks may be threads
_replaced: dict[str, Callable[..., Any]] = {}
_traces = 0


@contextmanager
def stacking() -> Iterator[None]:
    """Let ``np.array`` and ``np.asarray`` accept symbols inside."""
    global _traces
    with _LOCK:
        if not _traces:
            for name in _NAMES:
                _replaced[name] = getattr(np, name)
                setattr(np, name, _accepting_symbols(_replaced[name]))
        _traces += 1
    try:
        yield
    finally:
        with _LOCK:
            _traces -= 1
            if not _traces:
                for name in _NAMES:
                    setattr(np, name, _replaced.pop(name))


def _accepting_symbols(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def array(
        object: Any,
        dtype: Any = None,
        *args: Any,
        ndmin: int = 0,
        **keywords: Any,
    ) -> Any:
        # A function of SciPy that asks for an array could not compute with a symbol.
        if not _has_symbol(object) or called("scipy."):
            more = {"ndmin": ndmin} if ndmin else {}
            return function(object, dtype, *args, **more, **keywords)
        y = _stacked(object, function)
        y = y if dtype is None else y.astype(dtype)
        return np.reshape(y, (1,) * (ndmin - y.ndim) + y.shape)

    return array


def _has_symbol(x: Any) -> bool:
    if isinstance(x, list | tuple):
        return any(map(_has_symbol, x))
    return isinstance(x, Symbol)


def _stacked(x: Any, array: Callable[..., Any]) -> Any:
    """Return nested lists as one value."""
    if isinstance(x, Symbol):
        return x
    if not _has_symbol(x):
        return array(x)
    return np.stack([_stacked(each, array) for each in x])
