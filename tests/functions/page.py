"""The page of all functions, made from the tables.

``python -m tests.functions.page > docs/functions.md`` writes it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import dtrain.functions
from dtrain.functions.base import ADAPTERS, FUNCTIONS, UFUNCS, BaseFunction

_HEAD = """\
# Functions

What a program can be made of. Everything else is made of these with
`@dtrain.base_function`. This page is written from the tables in `dtrain/functions/`.

## Names of NumPy

Operators, indexing and the methods of arrays with these names work, too. Keywords that
only say how NumPy is to work (`out`, `dtype`, `order`) are refused.

{names}

## Base functions

What a flow graph's nodes are. A function that is "made of others" has no transfer
function of its own; one that "passes nothing" has the derivative 0.

"""


def page() -> str:
    """The whole page."""
    names = sorted({*map(numpy_name, ADAPTERS), *map(numpy_name, UFUNCS)})
    listed = ", ".join(f"`{name}`" for name in names)
    return _HEAD.format(names=listed) + "\n".join(_families()) + "\n"


def numpy_name(function: Callable[..., Any]) -> str:
    """How a program spells it."""
    module = getattr(function, "__module__", None) or "np"
    return f"{module}.{function.__name__}".replace("numpy", "np")


def _families() -> Iterator[str]:
    family = {
        id(function): name
        for name in dtrain.functions.__all__
        for function in _functions(vars(getattr(dtrain.functions, name)))
    }
    for name in dtrain.functions.__all__:
        members = [f for f in FUNCTIONS.values() if family[id(f)] == name]
        if members:
            yield f"### {name}\n\n| function | value | backward |\n|---|---|---|"
            yield from map(_row, members)
            yield ""


def _functions(names: dict[str, Any]) -> Iterator[BaseFunction]:
    for value in names.values():
        members = value if isinstance(value, tuple) else (value,)
        yield from (each for each in members if isinstance(each, BaseFunction))


def _row(function: BaseFunction) -> str:
    backward = "made of others" if function.definition else "passes nothing"
    if function.vjp is not None:
        backward = "transfer function"
    doc = function.doc.replace("|", "\\|")
    return f"| `{function.name}` | {doc} | {backward} |"


if __name__ == "__main__":
    print(page(), end="")
