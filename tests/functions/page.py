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

A program can call every function on this page. `@dtrain.base_function` adds new ones.
Operators, indexing and the methods of arrays work like NumPy's functions of the same
meaning. Keywords that only control NumPy's memory or types (`out`, `dtype`) are
refused.

**Types.** There is one integer type, from `.astype(int)`. All other numbers have the
run's dtype. A column is read in the run's dtype before `.astype(int)`, and float32
holds whole numbers only up to 2²⁴ = 16,777,216. So `((k + 1) % 8).astype(int)` needs
float64 for larger ids; an id that is itself an index does not.

**Assignment.** Nothing is written in place. `a += b` makes a new value and calls it
`a`; after `c = b; c += 1`, `b` is unchanged (in NumPy it would change).

**Randomness.** A program runs once, when it is traced. Numbers that it draws from
`np.random` are drawn then and are constants in every epoch. Training refuses a program
that differs when it is traced again. `dtrain.noise` and `layers.dropout` are new in
every step ([guide](guide.md#noise-and-dropout)).

This page is generated from the tables in `dtrain/functions/`, family by family. A base
function is one node of a flow graph. It passes an adjoint backward by its own transfer
function, or by those of the functions that it is made of, or its derivative is 0. The
other NumPy names are composed of base functions while the program is traced.

## Custom base functions

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
def dawson(x):  # opaque: called as it is
    return scipy.special.dawsn(x)
```

The first kind is traced. It is written for one sample with the functions of this page,
and needs nothing more; a `vjp` that you give replaces the derived one. Values are
passed by position. Keywords, such as `axis=1`, are plain numbers, texts or tuples of
them.

The second kind has `shape=`, the shape of one sample's value. It is not traced and may
use any library. It must keep two promises. Its arguments may have more axes in front,
which count samples; its value has the same axes in front. And a sample's value has the
same bits whatever other samples the arrays hold. `vjp(v, y, *xs)` uses the functions of
this page or your own, so that it has a derivative itself. `check=[...]` gives one
sample's arguments, at which the promises and the `vjp` are tested when the function is
made. Ranks whose functions differ, in value or in `vjp`, are reported before the first
step.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join((_HEAD, *_layers(), *_families(), *_refused()))


def numpy_name(function: Callable[..., Any]) -> str:
    """Return the name that a program uses."""
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
    yield "The error names the program's line and says what to do instead.\n"
    yield "| NumPy | reason or cure |\n|---|---|"
    names: dict[str, list[str]] = {}
    for name, reason in REFUSED.items():
        names.setdefault(reason, []).append(f"`{name}`")
    yield from (f"| {', '.join(each)} | {_cell(why)} |" for why, each in names.items())
    yield ""


def _home(function: BaseFunction) -> str:
    """Return the family that makes a base function."""
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
