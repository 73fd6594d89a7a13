"""Trace a Python function: run it once on symbols to get its flow graph."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from dtrain.errors import DtrainError, ProgramError
from dtrain.functions.fourier import Complex
from dtrain.tracing.arrays import stacking
from dtrain.tracing.builder import Builder
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.source import Source, here, is_machinery
from dtrain.tracing.symbol import Symbol

# Context variables, because ranks may be threads.
_BUILDER: ContextVar[Builder | None] = ContextVar("builder", default=None)
_SCOPE: ContextVar[str] = ContextVar("scope", default="")


class Program:
    """A parameterized program R(w; p, q, ...): a function of one sample.

    Attributes:
        name: the function's name.
        inputs: the names of its inputs, in order.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = function.__name__
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__module__ = function.__module__
        self.__wrapped__ = function
        self._required: list[str] = []
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind not in (
                parameter.POSITIONAL_OR_KEYWORD,
                parameter.KEYWORD_ONLY,
            ):
                raise ProgramError(
                    f"{here()}: program {self.name} takes {parameter}; its inputs "
                    "are columns of the data and need names"
                )
            if parameter.default is parameter.empty:
                self._required.append(parameter.name)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs: the parameters that have no default value."""
        return tuple(self._required)

    def __repr__(self) -> str:
        return f"<program {self.name}({', '.join(self.inputs)})>"

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Inline the program in another one.

        Raises:
            ProgramError: outside of a program; use `predict` to run it on numbers.
        """
        current(f"calling the program {self.name}")
        return self.function(*args, **keywords)

    def trace(self, **shapes: int | Sequence[int]) -> FlowGraph:
        """Run the function once on symbols; return the flow graph of the run.

        Args:
            shapes: each input's shape for one sample; an input not named is a scalar.

        Raises:
            ProgramError: for an operation that cannot be traced, with file and line.

        Example:
            >>> from dtrain import zoo
            >>> len(zoo.lecture.trace().levels)
            6
        """
        for name in shapes:
            if name not in self.inputs:
                raise ProgramError(
                    f"{here()}: program {self.name} has no input {name!r}; it has "
                    + ", ".join(self.inputs)
                )
        builder = Builder(self.name)
        context = _BUILDER.set(builder), _SCOPE.set("")
        try:
            code = self.function.__code__
            own = builder.source = Source(code.co_filename, code.co_firstlineno)
            values = {
                name: builder.input(name, _shape(shapes.get(name, ())))
                for name in self.inputs
            }
            builder.source = None
            with stacking():
                result = self.function(**values)
            builder.source = own
            return builder.graph(_outputs(builder, self.name, result))
        except DtrainError:
            raise
        except (Exception, SystemExit) as error:
            if isinstance(error.__cause__, ProgramError):  # NumPy wraps some
                raise error.__cause__ from None
            raise ProgramError(
                f"program {self.name} raised {type(error).__name__} while it was "
                f"traced\n{user_frames(error)}"
            ) from error
        finally:
            _BUILDER.reset(context[0])
            _SCOPE.reset(context[1])


def program(function: Callable[..., Any]) -> Program:
    """Make a plain NumPy function of one sample a parameterized program.

    The function's parameters are the inputs of one sample, named like the columns of
    the data; parameters with a default value are constants. There is no batch axis.

    Example:
        >>> import numpy as np
        >>> from dtrain import program, weight
        >>> @program
        ... def line(x):
        ...     return weight("slope") * x + weight("offset")
        >>> print(line.trace())
        line(x) -> line: 2 weights, 2 functions, 3 levels
          x       ()  input
          slope   ()  weight
          2       ()  slope * x
          offset  ()  weight
          line    ()  2 + offset
    """
    return Program(function)


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Prefix the names of weights and named values made inside with ``name.``."""
    token = _SCOPE.set(f"{_SCOPE.get()}{name}.")
    try:
        yield
    finally:
        _SCOPE.reset(token)


def scoped(name: str) -> str:
    """Return a name with the prefixes of the scopes around."""
    return _SCOPE.get() + name


def named(x: Any, name: str) -> Any:
    """Give a value of the program a name, for printing and explaining.

    Raises:
        ProgramError: if another value has that name.
    """
    builder = current(f"named(..., {name!r})")
    return builder.name_node(builder.symbol(x), scoped(name))


def current(what: str) -> Builder:
    """Return the builder of the program that is being traced."""
    builder = _BUILDER.get()
    if builder is None:
        raise ProgramError(
            f"{here()}: {what} belongs inside a function marked @program, where it is "
            "traced; to run a program on numbers use dtrain.predict"
        )
    return builder


def check_outside(what: str) -> None:
    """Raise if a function that works on numbers is called while tracing.

    Raises:
        ProgramError: naming the user's line.
    """
    if _BUILDER.get() is not None:
        raise ProgramError(
            f"{here()}: {what} runs on numbers and cannot be used inside a program, "
            "whose values are symbols: call it outside, on the program"
        )


def user_frames(error: BaseException) -> str:
    """Return a traceback as text, without frames of dtrain and the import system."""
    kept = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not is_machinery(frame.filename) and "importlib" not in frame.filename
    ]
    lines = traceback.format_list(kept)
    lines += traceback.format_exception_only(error)
    return "".join(lines).rstrip()


def _shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(shape, int | np.integer):
        return (int(shape),)
    return tuple(int(n) for n in shape)


def _advice(result: Any) -> str:
    """Return advice for a returned object that is not a value of the program."""
    if result is None:
        return "did you forget `return`?"
    if isinstance(result, list | tuple):
        return "return np.stack([...]) for one vector, a dict for several outputs"
    if isinstance(result, Complex):
        return "return its .real and .imag, or its size, np.abs"
    return (
        "which does not depend on its inputs or weights; return a value computed from "
        "them, or a dict of such values"
    )


def _outputs(builder: Builder, name: str, result: Any) -> dict[str, Symbol]:
    """Return the outputs by name: a dict's, or one with the program's name."""
    results = result if isinstance(result, Mapping) else {None: result}
    outputs: dict[str, Symbol] = {}
    for key, x in results.items():
        if not isinstance(x, Symbol):
            raise builder.error(
                f"program {name} returns a {type(x).__name__}; {_advice(x)}"
            )
        builder.symbol(x)  # no other program's
        if key is not None and not isinstance(key, str):
            raise builder.error(f"program {name}: an output's name must be a text")
        label = key or x.node.name or name
        if x.node.name is None and label not in builder.names:
            builder.name_node(x, label)
        outputs[label] = x
    if not outputs:
        raise builder.error(
            f"program {name} returns nothing; return a value, or a dict of values"
        )
    return outputs
