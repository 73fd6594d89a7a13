"""Simplify nodes algebraically as they are emitted.

Each rule keeps the value and saves work, or turns a sum of products into one
contraction. The rules terminate, because each of them removes a node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np

from dtrain.functions import (
    arithmetic,
    block_axis,
    contraction,
    gather,
    piecewise,
    reduction,
)
from dtrain.functions import shape as shapes
from dtrain.functions.base import FUNCTIONS, BaseFunction, Kind
from dtrain.functions.transcendental import exp, sigmoid
from dtrain.tracing.node import INPUT
from dtrain.tracing.symbol import Emitter, Symbol

# Constants are folded up to this size; larger ones are computed once per step anyway.
_FOLDED_SIZE = 1 << 16


def simplify(
    builder: Emitter,
    function: BaseFunction,
    xs: Sequence[Symbol],
    params: Mapping[str, Any],
) -> Symbol | None:
    """Return a simpler equal of ``function(*xs, **params)``, or ``None``."""
    folded = _fold(builder, function, xs, params)
    if folded is not None:
        return folded
    rule = _RULES.get(function)
    simpler = rule(*xs, **params) if rule is not None else None
    return None if simpler is None else builder.symbol(simpler)


def _fold(
    builder: Emitter,
    function: BaseFunction,
    xs: Sequence[Symbol],
    params: Mapping[str, Any],
) -> Symbol | None:
    """Compute a function of constants at once."""
    values = [x.node.constant for x in xs]
    by_sample = function.varies is not None or params.get("over_block")
    if by_sample or function.gives == "int":  # constants are numbers or truth values
        return None
    if any(value is None or value.size > _FOLDED_SIZE for value in values):
        return None
    try:
        builder.shape_of(function, [x.shape for x in xs], params)
    except (ValueError, TypeError):
        return None  # emitting the node reports the error
    with np.errstate(all="ignore"):
        value = np.asarray(function.value(*values, **params))
    return builder.constant(value) if value.size <= _FOLDED_SIZE else None


def _is(x: Symbol, number: float) -> bool:
    """Return whether a node is a constant whose elements all equal a number."""
    value = x.node.constant
    return value is not None and bool(np.all(value == number))


def _made_by(x: Symbol, function: BaseFunction) -> tuple[Symbol, ...] | None:
    """Return a node's inputs if a given function computes it."""
    if x.node.function is not function:
        return None
    return tuple(type(x)(x.builder, number) for number in x.node.inputs)


def _like(x: Symbol, other: Symbol) -> bool:
    """Return whether x alone has the shape and kind of its combination with other."""
    return (
        np.broadcast_shapes(x.shape, other.shape) == x.shape
        and x.node.kind >= other.node.kind
    )


def _add(a: Symbol, b: Symbol) -> Any:
    for x, other in ((a, b), (b, a)):
        if _is(other, 0) and _like(x, other):
            return x
        negated = _made_by(other, arithmetic.negative)
        if negated:
            return x - negated[0]
    return None


def _subtract(a: Symbol, b: Symbol) -> Any:
    if _is(b, 0) and _like(a, b):
        return a
    if _is(a, 0) and _like(b, a):
        return -b
    negated = _made_by(b, arithmetic.negative)
    return a + negated[0] if negated else None


def _multiply(a: Symbol, b: Symbol) -> Any:
    for x, other in ((a, b), (b, a)):
        if _is(other, 1) and _like(x, other):
            return x
        if _is(other, -1) and _like(x, other):
            return -x
        negated = _made_by(x, arithmetic.negative)
        if negated:  # move signs outward, where they cancel
            return -(negated[0] * other)
    return None


def _divide(a: Symbol, b: Symbol) -> Any:
    if _is(b, 1) and _like(a, b):
        return a
    return _sigmoid_of(b) if _is(a, 1) and a.shape == () else None


def _sigmoid_of(denominator: Symbol) -> Any:
    """Return σ(z) for a denominator of 1 + e⁻ᶻ."""
    for one, other in permutations(_made_by(denominator, arithmetic.add) or (), 2):
        power = _made_by(other, exp)
        if _is(one, 1) and one.shape == () and power:
            (x,) = power
            negated = _made_by(x, arithmetic.negative)
            return sigmoid(negated[0] if negated else -x)
    return None


_POWERS: tuple[tuple[float, Callable[[Symbol], Any]], ...] = (
    (1, lambda a: a),
    (2, np.square),
    (3, lambda a: np.square(a) * a),
    (0.5, np.sqrt),
    (-1, np.reciprocal),
)


def _power(a: Symbol, b: Symbol) -> Any:
    if b.shape == ():
        for exponent, simpler in _POWERS:
            if _is(b, exponent):
                return simpler(a)
    return None


def _negative(x: Symbol) -> Any:
    return next(iter(_made_by(x, arithmetic.negative) or ()), None)


def _factors(x: Symbol) -> tuple[Symbol, ...] | None:
    """Return the two factors of an elementwise product."""
    squared = _made_by(x, arithmetic.square)
    return squared * 2 if squared else _made_by(x, arithmetic.multiply)


def _sum(x: Symbol, *, axis: tuple[int, ...]) -> Any:
    factors = _factors(x)
    if factors is None:
        return None
    la, lb, ly = contraction.product_labels(factors[0].shape, factors[1].shape)
    kept = tuple(label for i, label in enumerate(ly) if i not in axis)
    if not any(label in la and label in lb for label in ly if label not in kept):
        return None  # nothing is multiplied and then summed
    a, b = factors
    return contraction.sum_of_products(a, b, (la, lb, kept))


def _contract(a: Symbol, b: Symbol, *, over_block: bool = False, **labels: Any) -> Any:
    if over_block and Kind.SAMPLE not in (a.node.kind, b.node.kind):
        # So that its adjoint is summed, too.
        a = block_axis.to_samples(a)
        return contraction.contract(a, b, over_block=True, **labels)
    return None


def _block_sum(x: Symbol) -> Any:
    """Move a sum over the block so that it is one contraction or a smaller sum."""
    for function in (arithmetic.negative, shapes.reshape, shapes.transpose):
        inner = _made_by(x, function)
        if inner:
            return function(block_axis.block_sum(inner[0]), **x.node.keywords)
    if x.node.kind is not Kind.SAMPLE:  # so that its adjoint is summed, too
        return block_axis.block_sum(block_axis.to_samples(x))
    scattered = _made_by(x, gather.scatter)
    if scattered:  # into one array for the block
        return gather.scatter(*scattered, **x.node.keywords, over_block=True)
    parts = _made_by(x, shapes.place)
    if parts:
        return shapes.place(*map(block_axis.block_sum, parts), **x.node.keywords)
    product = _product(x)
    if product is None:
        return None
    a, b, labels = product
    varying = [each for each in (a, b) if each.node.kind is Kind.SAMPLE]
    if len(varying) == 2:
        # An elementwise product without an outer part gains nothing.
        if x.node.function is arithmetic.multiply and _long(a, labels[0]) == _long(
            b, labels[1]
        ):
            return None
        return contraction.sum_of_products(a, b, labels, over_block=True)
    if len(varying) == 1:
        a, b = (block_axis.block_sum(f) if f is varying[0] else f for f in (a, b))
        return contraction.sum_of_products(a, b, labels)
    return None


def _product(x: Symbol) -> tuple[Symbol, Symbol, tuple[Any, Any, Any]] | None:
    """Return a node's factors if it is a product or contraction within a sample."""
    if x.node.function is arithmetic.multiply:
        a, b = _made_by(x, arithmetic.multiply) or ()
        return a, b, contraction.product_labels(a.shape, b.shape)
    if x.node.function is contraction.contract and x.node.kind is Kind.SAMPLE:
        a, b = _made_by(x, contraction.contract) or ()
        return a, b, x.node.keywords["labels"]
    return None


def _long(x: Symbol, labels: Sequence[int]) -> list[int]:
    """Return the labels of axes longer than 1."""
    return [label for label, n in zip(labels, x.shape, strict=True) if n != 1]


def _reshape(x: Symbol, *, shape: tuple[int, ...]) -> Any:
    inner = _made_by(x, shapes.reshape)
    if inner:
        return np.reshape(inner[0], shape)
    return x if x.shape == shape else None


def _place(*parts: Symbol, **where: Any) -> Any:
    if len({x.node.dtype for x in parts}) == 1:
        return None
    return shapes.place(
        *(x if x.node.dtype == "real" else piecewise.real(x) for x in parts), **where
    )


def _where(condition: Symbol, a: Symbol, b: Symbol) -> Any:
    if a.number == b.number and _like(a, condition):
        return a
    if a.node.dtype != b.node.dtype:
        return piecewise.where(
            condition,
            *(x if x.node.dtype == "real" else piecewise.real(x) for x in (a, b)),
        )
    if condition.node.dtype != "bool":
        return piecewise.where(np.not_equal(condition, 0), a, b)
    return None


def _scatter(indices: Symbol, v: Symbol, **params: Any) -> Any:
    if params.get("over_block") and Kind.SAMPLE not in (indices.node.kind, v.node.kind):
        # So that its adjoint is summed, too.
        return gather.scatter(indices, block_axis.to_samples(v), **params)
    return None


def _integer(x: Symbol, **how: bool) -> Any:
    """Move a cast inward to an input, which may then stay an integer."""
    number = _made_by(x, piecewise.real)
    if number and number[0].node.dtype == "int":
        return number[0]
    if x.node.dtype == "int":
        # An input that is only cast may hold other numbers: the cast shows that.
        return None if how and x.node.function is INPUT else x
    for function in (shapes.reshape, shapes.transpose, shapes.broadcast, shapes.index):
        inner = _made_by(x, function)
        if inner:
            return function(gather.integer(inner[0], **how), **x.node.keywords)
    return None


_RULES: dict[BaseFunction, Callable[..., Any]] = {
    FUNCTIONS["add"]: _add,
    FUNCTIONS["subtract"]: _subtract,
    FUNCTIONS["multiply"]: _multiply,
    FUNCTIONS["divide"]: _divide,
    FUNCTIONS["power"]: _power,
    FUNCTIONS["negative"]: _negative,
    FUNCTIONS["reciprocal"]: _sigmoid_of,
    contraction.contract: _contract,
    reduction.sum_: _sum,
    block_axis.block_sum: _block_sum,
    FUNCTIONS["reshape"]: _reshape,
    gather.integer: _integer,
    gather.scatter: _scatter,
    shapes.place: _place,
    piecewise.where: _where,
}
