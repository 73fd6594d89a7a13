"""The JavaScript of every elementwise base function, compared with NumPy."""

import numpy as np
import pytest

from dtrain.explain.javascript import FUNCTIONS as JAVASCRIPT
from dtrain.explain.javascript import table
from dtrain.functions.base import FUNCTIONS, broadcast_shape

ELEMENTWISE = [
    function
    for function in FUNCTIONS.values()
    if function.elementwise or function.shape is broadcast_shape
]
ARGUMENTS = {
    "float": [-2.5, -1.0, -0.75, 0.0, 0.5, 1.0, 1.5, 2.5, 7.25],
    "bool": [False, True],
}


@pytest.mark.parametrize("function", ELEMENTWISE, ids=lambda each: each.name)
def test_every_elementwise_function_has_javascript(function):
    assert function.name in JAVASCRIPT or function.definition is not None


def test_the_table_has_only_base_functions():
    assert JAVASCRIPT.keys() <= FUNCTIONS.keys()


def count(function):
    """Return the number of arguments of an elementwise function."""
    if isinstance(function.value, np.ufunc):
        return function.value.nin
    return 3 if function.name == "where" else 1


def same(found, value):
    """Return whether both values are equal; JSON has neither NaN nor infinity."""
    if not np.isfinite(value):
        return found == str(float(value))
    return float(found) == pytest.approx(float(value), rel=1e-13, abs=1e-15)


def test_javascript_computes_what_numpy_computes(opened):
    shown = opened("<!doctype html><title>functions</title>")
    functions = [each for each in ELEMENTWISE if each.name in JAVASCRIPT]
    calls = []
    for function in functions:
        kind = "bool" if function.takes == "bool" else "float"
        grids = np.meshgrid(*[ARGUMENTS[kind]] * count(function))
        arguments = np.transpose([grid.ravel() for grid in grids]).tolist()
        if function.name == "where":
            arguments = [[bool(a > 0), b, c] for a, b, c in arguments]
        calls.append((function.name, arguments))
    found = shown.script(
        table({name for name, _ in calls})
        + "const sayable = (y) => Number.isFinite(Number(y)) ? Number(y)"
        " : Number.isNaN(y) ? 'nan' : y > 0 ? 'inf' : '-inf';"
        "return arguments[0].map(([name, all]) =>"
        " all.map((each) => sayable(F[name](...each))))",
        calls,
    )
    wrong = []
    with np.errstate(all="ignore"):
        for function, (name, arguments), values in zip(
            functions, calls, found, strict=True
        ):
            for given, value in zip(arguments, values, strict=True):
                right = function.value(*map(np.asarray, given))
                if not same(value, right):
                    wrong.append((name, given, value, right))
    assert wrong == []
