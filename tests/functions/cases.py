"""One table: samples of every base function, over broadcast shapes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dtrain.functions.base import FUNCTIONS, Shape
from dtrain.functions.shape import Positions, Slices

SAMPLES = 5


@dataclass(frozen=True)
class Case:
    """A base function on inputs of given shapes.

    Attributes:
        name: its name in `FUNCTIONS`.
        shapes: of the inputs, for one sample.
        call: applies it, to arrays (then it is `BaseFunction.value`) or symbols.
        low: the least entry of an input.
        high: the largest.
        over_block: whether it sums over the samples of a block.
        params: what else it is given.
    """

    name: str
    shapes: tuple[Shape, ...]
    call: Callable[..., Any]
    low: float
    high: float
    over_block: bool
    params: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.name}-{'-'.join(map(str, self.shapes))}".replace(" ", "")

    def draw(self, rng: np.random.Generator, argument: int) -> np.ndarray[Any, Any]:
        """Entries in the domain; no two of all arguments are as near as a difference.

        A kink between two of them would spoil it.
        """
        most = max(math.prod(shape) for shape in self.shapes)
        arguments = len(self.shapes)
        grid = np.linspace(self.low, self.high, 2 * max(most, 1) * arguments)
        shape = self.shapes[argument]
        chosen = rng.permutation(grid[argument::arguments])[: math.prod(shape)]
        return chosen.reshape(shape)


def _case(
    name: str,
    *shapes: Shape,
    low: float = -1.5,
    high: float = 1.5,
    call: Callable[..., Any] | None = None,
    **params: Any,
) -> Case:
    def apply(*xs: Any) -> Any:
        return FUNCTIONS[name](*xs, **params)

    over_block = name == "block_sum" or "over_block" in params
    return Case(name, shapes, call or apply, low, high, over_block, params)


_ONE = ((), (3,), (2, 3), (1, 3), (0,))
_SQUARE = ((1, 1), (3, 3), (2, 2, 2), (2, 0, 0))
_TWO = (
    ((), ()),
    ((3,), ()),
    ((), (2, 3)),
    ((3,), (3,)),
    ((2, 1), (1, 3)),
    ((2, 3), (3,)),
    ((2, 0), (1,)),
)
_MAPS = (
    "negative square expm1 exp exp2 sin cos arctan sinh cosh tanh arcsinh sigmoid "
    "absolute sign deg2rad rad2deg floor ceil trunc rint isfinite isinf isnan signbit"
)
_POSITIVE = "reciprocal sqrt cbrt log log1p log2 log10"
_SMALL = "tan arcsin arccos arctanh"
_PAIRS = (
    "add subtract multiply maximum minimum fmax fmin logaddexp logaddexp2 arctan2 "
    "hypot copysign heaviside"
)
_QUOTIENTS = "divide power remainder fmod floor_divide"
_COMPARISONS = "greater greater_equal less less_equal equal not_equal"
_LOGICAL = "logical_and logical_or logical_xor"


def _where(condition: Any, a: Any, b: Any) -> Any:
    return FUNCTIONS["where"](FUNCTIONS["greater"](condition, 0.0), a, b)


def _logical(name: str) -> Callable[..., Any]:
    def apply(*xs: Any) -> Any:
        return FUNCTIONS[name](*(FUNCTIONS["greater"](x, 0.0) for x in xs))

    return apply


def _gather(batch: int) -> Callable[..., Any]:
    def apply(places: Any, x: Any) -> Any:
        return FUNCTIONS["gather"](FUNCTIONS["integer"](places), x, batch=batch)

    return apply


def _scatter(batch: int, **more: Any) -> Callable[..., Any]:
    def apply(places: Any, v: Any) -> Any:
        whole = FUNCTIONS["integer"](places)
        return FUNCTIONS["scatter"](whole, v, batch=batch, size=3, **more)

    return apply


def _of_regular(name: str) -> Callable[..., Any]:
    def apply(a: Any, *more: Any) -> Any:
        return FUNCTIONS[name](0.2 * a + 1.4 * np.eye(np.shape(a)[-1]), *more)

    return apply


def _places(shape: Shape, key: Any) -> Positions:
    places = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)[key]
    return Positions(places.tobytes(), places.shape)


CASES: list[Case] = [
    *(_case(name, shape) for name in _MAPS.split() for shape in _ONE),
    *(_case(n, s, low=-0.7, high=0.7) for n in _SMALL.split() for s in _ONE),
    *(_case("arccosh", shape, low=1.2, high=3) for shape in _ONE),
    *(_case(n, s, low=0.4, high=2) for n in _POSITIVE.split() for s in _ONE),
    *(_case(name, *shapes) for name in _PAIRS.split() for shapes in _TWO),
    *(_case(n, *s, low=0.4, high=2) for n in _QUOTIENTS.split() for s in _TWO),
    *(_case(n, *shapes) for n in _COMPARISONS.split() for shapes in _TWO[:4]),
    *(
        _case(n, *shapes, call=_logical(n))
        for n in _LOGICAL.split()
        for shapes in _TWO[:4]
    ),
    *(_case("logical_not", s, call=_logical("logical_not")) for s in _ONE),
    *(_case("real", shape, call=_logical("real")) for shape in _ONE),
    _case("where", (), (), (), call=_where),
    _case("where", (3,), (3,), (), call=_where),
    _case("where", (), (2, 3), (3,), call=_where),
    _case("where", (2, 1), (), (1, 3), call=_where),
    _case("sum", (3,), axis=(0,)),
    _case("sum", (2, 3), axis=(1,)),
    _case("sum", (2, 3, 2), axis=(0, 2)),
    _case("sum", (2, 0), axis=(1,)),
    _case("sum", (1, 3), axis=(0,)),
    *(_case(n, s) for n in ("max", "min") for s in ((3,), (2, 3), (2, 1), (2, 2, 3))),
    *(_case(n, s) for n in ("argmax", "argmin") for s in ((3,), (2, 3), (2, 1))),
    *(_case("prod", s) for s in ((1,), (3,), (2, 3), (2, 7), (2, 0))),
    *(
        _case(n, s)
        for n in ("softmax", "log_softmax", "logsumexp")
        for s in ((3,), (2, 3), (2, 2), (0, 3))
    ),
    _case("logsumexp", (1,)),
    *(_case(n, s, low=-3.1, high=3) for n in ("erf", "erfc") for s in _ONE),
    *(_case(n, s, low=0.2, high=10.9) for n in ("gammaln", "digamma") for s in _ONE),
    *(_case(n, (3,), low=-3.8, high=-3.2) for n in ("gammaln", "digamma")),
    *(_case(n, *s, low=0.4, high=2) for n in ("xlogy", "xlog1py") for s in _TWO),
    *(_case(n, s) for n in ("sort", "argsort") for s in ((1,), (3,), (2, 3), (2, 0))),
    *(_case("integer", s, low=-2.7, high=2.8) for s in _ONE),
    *(
        _case("gather", *s, call=_gather(batch), low=-0.9, high=0.9, batch=batch)
        for batch, *s in (
            (0, (), (1,)),
            (0, (3,), (2,)),
            (0, (2, 3), (1, 3, 2)),
            (1, (2,), (2, 1)),
            (1, (2, 3), (2, 1, 4)),
            (0, (0,), (2, 3)),
        )
    ),
    *(
        _case(
            "scatter",
            *s,
            call=_scatter(batch, **more),
            low=-0.9,
            high=2.9,
            batch=batch,
            **more,
        )
        for more in ({}, {"over_block": True})
        for batch, *s in (
            (0, (), ()),
            (0, (2, 3), (2, 3)),
            (1, (2, 3), (2, 3, 4)),
            (0, (0,), (0, 2)),
        )
    ),
    *(
        _case("windows", shape, size=size, stride=stride, dilation=dilation)
        for shape, size, stride, dilation in (
            ((5,), (2,), (1,), (1,)),
            ((2, 7), (3,), (2,), (1,)),
            ((3, 6, 5), (2, 3), (1, 2), (2, 1)),
            ((0, 3), (3,), (1,), (1,)),
        )
    ),
    *(
        _case("overlap_add", shape, shape=whole, stride=stride, dilation=dilation)
        for shape, whole, stride, dilation in (
            ((4, 2), (5,), (1,), (1,)),
            ((2, 3, 3), (8,), (2,), (1,)),
            ((2, 4, 2, 2, 3), (6, 5), (1, 2), (2, 1)),
            ((0, 1, 3), (3,), (1,), (1,)),
        )
    ),
    *(
        _case("solve", *s, call=_of_regular("solve"))
        for s in (
            ((2, 2), (2, 1)),
            ((3, 3), (3, 2)),
            ((SAMPLES, SAMPLES), (SAMPLES, 1)),  # as many unknowns as samples
            ((2, 3, 3), (2, 3, 1)),
            ((2, 0, 0), (2, 0, 1)),
        )
    ),
    *(
        _case(name, s, call=_of_regular(name))
        for name in ("det", "logabsdet", "sign_of_det")
        for s in ((1, 1), (3, 3), (2, 2, 2))
    ),
    *(_case("cholesky", s, call=_of_regular("cholesky")) for s in _SQUARE),
    *(_case("eigenvalues", s) for s in _SQUARE),
    *(_case("eigenvectors", s) for s in ((2, 2), *_SQUARE[1:])),
    *(_case("cumsum", s) for s in ((1,), (3,), (2, 3), (2, 0))),
    *(_case("cumprod", s) for s in ((1,), (3,), (2, 7), (2, 0))),
    _case("reshape", (2, 3), shape=(3, 2)),
    _case("reshape", (6,), shape=(1, 2, 1, 3)),
    _case("reshape", (), shape=(1, 1)),
    _case("reshape", (0, 3), shape=(3, 0, 2)),
    _case("transpose", (2, 3), axes=(1, 0)),
    _case("transpose", (2, 3, 4), axes=(2, 0, 1)),
    _case("broadcast", (3,), shape=(2, 3)),
    _case("broadcast", (), shape=(2, 2)),
    _case("broadcast", (2, 1, 3), shape=(2, 4, 3)),
    _case("index", (5,), at=Slices(((1, 3, 1),))),
    _case("index", (5, 4), at=Slices(((4, 3, -2), (0, 2, 3)))),
    _case("index", (5,), at=Slices(((0, 0, 1),))),
    _case("index", (2, 3), at=_places((2, 3), ([1, 0, 1], [2, 0, 2]))),
    _case("index", (4,), at=_places((4,), [[3, 3], [0, 3]])),
    _case("place", (3,), at=(Slices(((1, 3, 1),)),), shape=(5,)),
    _case(
        "place",
        (2,),
        (3,),
        at=(Slices(((4, 2, -2),)), Slices(((0, 3, 1),))),
        shape=(5,),
    ),
    _case(
        "place",
        (3,),
        (2, 2),
        at=(_places((2, 3), ([1, 0, 1], [2, 0, 2])), Slices(((0, 2, 1), (1, 2, 1)))),
        shape=(2, 3),
    ),
    _case("place", (0,), at=(Slices(((0, 0, 1),)),), shape=(2,)),
    _case("contract", (2, 3), (3,), labels=((0, 1), (1,), (0,))),
    _case("contract", (3,), (3, 2), labels=((0,), (0, 1), (1,))),
    _case("contract", (2, 3), (3, 4), labels=((0, 1), (1, 2), (2, 0))),
    _case("contract", (2,), (3,), labels=((0,), (1,), (0, 1))),
    _case("contract", (3,), (3,), labels=((0,), (0,), ())),
    _case("contract", (2, 3, 4), (2, 4, 3), labels=((0, 1, 2), (0, 2, 1), (0,))),
    _case("contract", (2, 3, 4), (2, 4, 2), labels=((0, 1, 2), (0, 2, 3), (1, 0, 3))),
    _case("contract", (2, 0), (0,), labels=((0, 1), (1,), (0,))),
    _case("contract", (2, 1), (1, 3), labels=((0, 1), (1, 2), (0, 2))),
    _case("contract", (2,), (3,), labels=((0,), (1,), (0, 1)), over_block=True),
    _case("contract", (3,), (3,), labels=((0,), (0,), ()), over_block=True),
    *(_case(n, s) for n in ("block_sum", "to_samples") for s in _ONE),
]


def random_cases(rng: np.random.Generator) -> list[Case]:
    """Every elementwise function, and those of the last axis, on shapes at random."""
    last = {"max", "min", "argmax", "argmin", "prod", "cumsum", "cumprod", "sort"}
    last |= {"argsort", "softmax", "log_softmax", "logsumexp"}
    cases = {case.name: case for case in CASES}
    drawn = []
    for case in cases.values():
        if FUNCTIONS[case.name].elementwise or case.name in last | SPECIAL:
            whole = tuple(rng.choice([0, 1, 1, 2, 3, 4], rng.integers(0, 4)).tolist())
            if case.name in last:
                whole = (*whole, int(rng.integers(1, 5)))
            shapes = [
                tuple(n if rng.random() < 0.7 else 1 for n in whole)[
                    rng.integers(0, len(whole) + 1) :
                ]
                for _ in case.shapes[1:]
            ]
            drawn.append(replace(case, shapes=(whole, *shapes)))
    return drawn


SPECIAL = {"sigmoid", "erf", "erfc", "gammaln", "digamma", "xlogy", "xlog1py"}
