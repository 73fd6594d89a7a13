"""The page of all functions, made from the tables.

``python -m tests.functions.page > docs/functions.md`` writes it again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import dtrain.functions
from dtrain.functions.base import ADAPTERS, FUNCTIONS, UFUNCS, BaseFunction
from dtrain.functions.unsupported import REFUSED
from dtrain.tracing import layers

_HEAD = """\
# Functions

What a program can be made of; more is made of these with `@dtrain.base_function`.
Operators, indexing and the methods of arrays work as NumPy's functions of the same
meaning do. Keywords that only say how NumPy is to work (`out`, `dtype`) are refused.
Integers have one type, from `.astype(int)`, and so have other numbers, the run's dtype.
What is computed with a column before `.astype(int)` is computed in the run's dtype, in
which float32 holds whole numbers up to 2²⁴ = 16,777,216: larger ids need float64 for
`((k + 1) % 8).astype(int)`, but not as indices themselves.
Values are never written into: `a += b` makes a new value and gives it the name `a`, so
that after `c = b; c += 1` the value `b` is what it was (NumPy would change it).

A program is run once, as it is traced. Random numbers that it draws from `np.random`
are drawn then, and are constants in every epoch; training refuses a program that is
another one when it is traced again. Give noise as a column of the data.

This page is written from the tables in `dtrain/functions/`, family by family. A base
function is what a node of a flow graph is. It passes an adjoint backward by a transfer
function of its own, or by those of the functions that it is made of, or its derivative
is 0. The other names of NumPy are made of base functions as the program is traced.

## A base function of your own

```python
import numpy as np
import scipy.special
from dtrain import base_function

@base_function
def swish(x):  # traced: shown as one node, made of what it calls
    return x / (1 + np.exp(-x))

@base_function(
    shape=np.broadcast_shapes,
    vjp=lambda v, y, x: (v * (1 - 2 * x * y),),
    check=[np.array([0.3, 2.0])],
)
def dawson(x):  # called as it stands
    return scipy.special.dawsn(x)
```

The first kind is written for one sample, with the functions of this page, and needs
nothing more; a `vjp` of its own takes the place of the derived one. Values are given by
position; keywords, such as `axis=1`, are plain numbers, texts or tuples of them.

With `shape=`, the value's shape rule for one sample, the function is not traced, and
may use any library. Then it promises that its arguments may have further axes in front,
which count samples and which its value has, too; and that a sample's value has the same
bits in any company. `vjp(v, y, *xs)` is always written with functions of this page or
your own, so that it has a derivative in turn. `check=[...]` holds all of that at a
sample's arguments, when the function is made. Ranks whose functions differ, in value or
in `vjp`, are found before the first step.
"""


def page() -> str:
    """The whole page."""
    return "\n".join((_HEAD, *_layers(), *_families(), *_refused()))


def numpy_name(function: Callable[..., Any]) -> str:
    """How a program spells it."""
    module = getattr(function, "__module__", None) or "np"
    return f"{module}.{function.__name__}".replace("numpy", "np")


def _layers() -> Iterator[str]:
    yield "## In `dtrain.layers`\n\n| function | value |\n|---|---|"
    for name in layers.__all__:
        function = getattr(layers, name)
        doc = getattr(function, "doc", None) or inspect.getdoc(function) or ""
        yield f"| `{name}` | {_cell(doc)} |"
    yield ""


def _families() -> Iterator[str]:
    names: dict[str, dict[str, str]] = {name: {} for name in dtrain.functions.__all__}
    home = {name: _home(function) for name, function in FUNCTIONS.items()}
    for numpy_function, function in (ADAPTERS | UFUNCS).items():
        if isinstance(function, BaseFunction):
            family, doc = home[function.name], ""
        else:
            family = function.__module__.rpartition(".")[2]
            doc = inspect.getdoc(function) or ""
        names[family][numpy_name(numpy_function)] = doc
    for name, entries in names.items():
        module = getattr(dtrain.functions, name)
        yield f"## {name}\n\n{(module.__doc__ or '').partition(chr(10))[0]}\n"
        if entries:
            yield f"NumPy: {', '.join(f'`{entry}`' for entry in sorted(entries))}\n"
        notes = {entry: doc for entry, doc in entries.items() if doc}
        yield from (f"- `{entry}`: {_cell(doc)}" for entry, doc in notes.items())
        yield from ("",) if notes else ()
        members = [f for f in FUNCTIONS.values() if home[f.name] == name]
        if members:
            yield "| base function | value | backward |\n|---|---|---|"
            yield from map(_row, members)
            yield ""


def _refused() -> Iterator[str]:
    yield "## What is refused\n"
    yield "The message says so with the program's line, and what to do instead.\n"
    yield "| of NumPy | because |\n|---|---|"
    names: dict[str, list[str]] = {}
    for name, reason in REFUSED.items():
        names.setdefault(reason, []).append(f"`{name}`")
    yield from (f"| {', '.join(each)} | {_cell(why)} |" for why, each in names.items())
    yield ""


def _home(function: BaseFunction) -> str:
    """The family that makes a base function."""
    for part in (function.vjp, function.definition, function.value):
        package, _, module = getattr(part, "__module__", "").rpartition(".")
        if package == "dtrain.functions":
            return str(module)
    for name in dtrain.functions.__all__:  # ufuncs that pass nothing backward
        for value in vars(getattr(dtrain.functions, name)).values():
            if function is value or (isinstance(value, tuple) and function in value):
                return name
    raise LookupError(function.name)


def _row(function: BaseFunction) -> str:
    backward = "made of others" if function.definition else "0"
    if function.vjp is not None:
        backward = "transfer function"
    return f"| `{function.name}` | {_cell(function.doc)} | {backward} |"


def _cell(doc: str) -> str:
    """The first paragraph, on one line of a table."""
    return " ".join(doc.partition("\n\n")[0].split()).replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
