"""On arguments drawn at random a traced function gives what NumPy gives, or refuses.

Axes of sizes 0 and 1 are among them, negative axes, axes that are not there, and
elements that are equal, infinite or no numbers.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtrain import predict, program
from dtrain.errors import ProgramError
from tests.tolerances import FLOAT64

ELEMENTS = st.sampled_from(
    [-np.inf, -2.5, -1.0, -0.25, 0.0, 0.25, 0.5, 1.0, 1.0, 1.75, 3.0, np.inf, np.nan]
)
SHAPES = st.lists(st.sampled_from([0, 1, 1, 2, 2, 3]), min_size=1, max_size=4).map(
    tuple
)
AXIS = st.integers(-3, 3)
AXES = st.none() | AXIS | st.lists(AXIS, max_size=3).map(tuple)
SMALL = st.integers(-3, 5)

# Of x, any array, y, another one, a and b, axes, s, axes as a tuple, one or None, and
# n and k, small integers.
CALLS: dict[str, Callable[..., Any]] = {
    **{
        name: lambda d, f=name: getattr(np, f)(d.x, axis=d.s, keepdims=d.k > 0)
        for name in (
            *("sum", "prod", "max", "min", "mean", "var", "std", "ptp", "any", "all"),
            *("count_nonzero", "nansum", "nanprod"),
        )
    },
    **{
        name: lambda d, f=name: getattr(np, f)(d.x, axis=d.a)
        for name in (
            *("argmax", "argmin", "cumsum", "cumprod", "sort", "argsort", "nancumsum"),
            *("squeeze", "expand_dims", "diff"),
        )
    },
    "median": lambda d: np.median(d.x, axis=d.s or None, keepdims=d.k > 0),
    "unstack": lambda d: d.joined(np.unstack(d.x, axis=d.a)),
    "flip": lambda d: np.flip(d.x, d.s),
    "squeeze": lambda d: np.squeeze(d.x, d.s),
    "moveaxis": lambda d: np.moveaxis(d.x, (d.a, d.b), (d.b, d.n)),
    "swapaxes": lambda d: np.swapaxes(d.x, d.a, d.b),
    "rollaxis": lambda d: np.rollaxis(d.x, d.a, d.n),
    "roll": lambda d: np.roll(d.x, d.n, axis=d.s),
    "rot90": lambda d: np.rot90(d.x, d.n, (d.a, d.b)),
    "diff n": lambda d: np.diff(d.x, n=d.n, axis=d.a),
    "diagonal": lambda d: np.diagonal(d.x, d.n, d.a, d.b),
    "trace": lambda d: np.trace(d.x, d.n, d.a, d.b),
    "diag": lambda d: np.diag(d.x, d.n),
    "tril": lambda d: np.tril(d.x, d.n),
    "triu": lambda d: np.triu(d.x, d.n),
    "repeat": lambda d: np.repeat(d.x, d.n, axis=d.a if d.k else None),
    "tile": lambda d: np.tile(d.x, (d.n, d.k)),
    "reshape": lambda d: np.reshape(d.x, (d.n, d.k), order="CF"[d.a % 2]),
    "ravel": lambda d: np.ravel(d.x, order="CF"[d.a % 2]),
    "transpose": lambda d: np.transpose(d.x, d.s if isinstance(d.s, tuple) else None),
    "broadcast_to": lambda d: np.broadcast_to(d.x, np.shape(d.y)),
    "array_split": lambda d: d.joined(np.array_split(d.x, d.n, axis=d.a)),
    "split": lambda d: d.joined(np.split(d.x, d.n, axis=d.a)),
    "split at": lambda d: d.joined(np.split(d.x, [d.n, d.k], axis=d.a)),
    "concatenate": lambda d: np.concatenate([d.x, d.y, d.x], axis=d.a),
    "stack": lambda d: np.stack([d.x, d.y], axis=d.a),
    "vstack": lambda d: np.vstack([d.x, d.y]),
    "hstack": lambda d: np.hstack([d.x, d.y]),
    "dstack": lambda d: np.dstack([d.x, d.y]),
    "column_stack": lambda d: np.column_stack([d.x, d.y]),
    "append": lambda d: np.append(d.x, d.y, axis=d.a if d.k else None),
    "insert": lambda d: np.insert(d.x, d.n, 7.0, axis=d.a if d.k else None),
    "delete": lambda d: np.delete(d.x, d.n, axis=d.a if d.k else None),
    "pad": lambda d: np.pad(d.x, (abs(d.n), abs(d.k))),
    "pad edge": lambda d: np.pad(d.x, (abs(d.n), 1), "edge"),
    "pad reflect": lambda d: np.pad(d.x, (abs(d.n), 1), "reflect"),
    "take": lambda d: np.take(d.x, [d.n, d.k], axis=d.a),
    "index": lambda d: d.x[d.n],
    "slice": lambda d: d.x[d.n : d.k : d.a or None],
    "slice turned": lambda d: d.x[..., d.n :: -2],
    "index list": lambda d: d.x[..., [d.n, d.k]],
    "index beside": lambda d: d.x[d.a, ..., [d.n, 0]],
    "take_along_axis": lambda d: np.take_along_axis(d.x, np.argsort(d.x, d.a), d.a),
    "outer": lambda d: np.outer(d.x, d.y),
    "dot": lambda d: np.dot(d.x, d.y),
    "inner": lambda d: np.inner(d.x, d.y),
    "vdot": lambda d: np.vdot(d.x, d.y),
    "kron": lambda d: np.kron(d.x, d.y),
    "matmul": lambda d: d.x @ d.y,
    "vecdot": lambda d: np.vecdot(d.x, d.y),
    "tensordot": lambda d: np.tensordot(d.x, d.y, d.k),
    "tensordot axes": lambda d: np.tensordot(d.x, d.y, ((d.a, d.b), (d.n, d.k))),
    "einsum": lambda d: np.einsum("...ij,...jk->...ik", d.x, d.y),
    "einsum, i": lambda d: np.einsum("i...,i", d.finite, d.y > 0),
    "norm": lambda d: np.linalg.norm(
        d.x,
        (None, 0, 1, 2, 3, np.inf, -np.inf, "fro")[d.k % 8],
        axis=d.s,
        keepdims=d.a > 0,
    ),
    "average": lambda d: np.average(d.x, axis=d.s, weights=np.abs(d.x) + 1),
    "quantile": lambda d: np.quantile(d.finite, abs(d.n) / 4, axis=d.s or None),
    "clip": lambda d: np.clip(d.x, 0, d.n),
    "round": lambda d: np.round(d.x, d.n),
    "modf": lambda d: np.stack(np.modf(d.x)),
    "divmod": lambda d: np.stack(np.divmod(d.x, d.y)),
    "fmod": lambda d: np.fmod(d.x, d.y),
    "isclose": lambda d: np.isclose(d.x, d.y),
    "maximum": lambda d: np.maximum(d.x, d.y),
    "fmax": lambda d: np.fmax(d.x, d.y),
    "arctan2": lambda d: np.arctan2(d.x, d.y),
    "logaddexp": lambda d: np.logaddexp(d.x, d.y),
    "hypot": lambda d: np.hypot(d.x, d.y),
    "power": lambda d: d.x**d.n,
    "sign": lambda d: np.sign(d.x) + np.copysign(2, d.x) + np.heaviside(d.x, 0.5),
    "truths": lambda d: 1.0 * ((d.x > d.y) + (d.x < 1)),
    "where": lambda d: np.where(d.x > 0, d.y, d.n),
    "vander": lambda d: np.vander(d.x, d.n),
    "polyval": lambda d: np.polyval(d.y, d.x),
    "trapezoid": lambda d: np.trapezoid(d.x, axis=d.a),
    "gradient": lambda d: np.gradient(d.x, axis=d.a),
    "interp": lambda d: np.interp(d.x, [-1, 0, 0.5, 2], [3.0, 1, 2, -1]),
    "convolve": lambda d: np.convolve(d.x, d.y, ("full", "same", "valid")[d.k % 3]),
    "correlate": lambda d: np.correlate(d.x, d.y, ("full", "same", "valid")[d.k % 3]),
    "sinc": lambda d: np.sinc(d.x),
    "cross": lambda d: np.cross(d.x, d.y, axis=d.a),
}
# Where NumPy is lenient: it takes the mean of nothing with a warning, and so on.
STRICTER = re.compile(
    "no mean of|no variance|no elements|no quantile|vectors of three|two points|"
    "of 2 axes is not supported|negative|out of bounds|no axis|at least one"
)


class Drawn:
    """The arguments of one call."""

    def __init__(self, x: Any, y: Any, numbers: dict[str, Any]) -> None:
        self.x, self.y = x, y
        self.__dict__.update(numbers)

    @property
    def finite(self) -> Any:
        """The first array, with no infinities in it."""
        return np.where(np.isfinite(self.x), self.x, 0.75)

    @staticmethod
    def joined(parts: Any) -> Any:
        """Several parts as one array, in another order."""
        return np.concatenate([np.ravel(part) for part in parts][::-1])


@st.composite
def arrays(draw: Any) -> Any:
    shape = draw(SHAPES)
    size = int(np.prod(shape, dtype=int))
    flat = draw(st.lists(ELEMENTS, min_size=size, max_size=size))
    return np.array(flat, float).reshape(shape)


@pytest.mark.parametrize("name", CALLS)
@given(data=st.data())
@settings(max_examples=25)
def test_numpys_value_or_a_refusal(name: str, data: Any) -> None:
    x, y = data.draw(arrays()), data.draw(arrays())
    a, b, n, k = (data.draw(each) for each in (AXIS, AXIS, SMALL, SMALL))
    numbers = {"a": a, "b": b, "n": n, "k": k, "s": data.draw(AXES)}
    call = CALLS[name]

    @program
    def traced(x, y):
        return {"value": call(Drawn(x, y, numbers)) + 0.0 * np.sum(x[None] > 0)}

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            value = np.asarray(call(Drawn(x, y, numbers)), float)
        except ZeroDivisionError:  # weights that add up to nothing
            return
        except (ValueError, TypeError, IndexError):
            value = None
        refusal = ""
        try:
            ours = predict(traced, {}, [x[None], y[None]])[0]
        except ProgramError as error:
            refusal = str(error)
    if refusal:
        assert value is None or STRICTER.search(refusal)
        return
    assert value is not None, ours
    near = FLOAT64.sums
    np.testing.assert_allclose(ours, value, rtol=near, atol=near, strict=True)
