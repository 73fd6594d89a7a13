"""A function that is traced takes NumPy's arguments, by NumPy's names, or refuses them.

So a keyword that is not supported is an error, and one that is means the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dtrain.functions.base import ADAPTERS, BaseFunction
from tests.functions.page import numpy_name

# einsum has its labels first among its *operands.
TRACED = {
    numpy_name(function): (function, traced)
    for function, traced in ADAPTERS.items()
    if not isinstance(traced, BaseFunction) and function is not np.einsum
}
NONE = (None, np._NoValue, inspect.Parameter.empty)


@pytest.mark.parametrize("name", TRACED)
def test_arguments_have_numpys_names_places_and_defaults(name: str) -> None:
    function, traced = TRACED[name]
    ours, theirs = map(arguments, (traced, function))
    assert set(ours) <= set(theirs)
    by_place = [p.name for p in ours.values() if p.kind is not p.KEYWORD_ONLY]
    assert by_place == list(theirs)[: len(by_place)]
    for parameter in ours.values():
        other = theirs[parameter.name]
        if parameter.default not in NONE and other.default not in NONE:
            assert parameter.default == other.default
        required = parameter.default is parameter.empty
        assert not required or other.default is other.empty


def arguments(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Those that are named; ``*`` and ``**`` stand for any."""
    stars = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind not in stars
    }
