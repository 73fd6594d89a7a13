"""Lanes as vectors of LLVM IR: each operation is one instruction, without flags.

Without fast-math flags LLVM neither re-associates nor contracts, so the bits are those
of `ArrayArithmetic` on every processor, except for the sign and payload of a NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from dtrain.engine.fused.lanes.lanes import (
    DTYPE,
    FLOAT,
    Arithmetic,
    Formula,
    Lanes,
    word,
)

ELEMENT = {
    "float32": ir.FloatType(),
    "float64": ir.DoubleType(),
    "word32": ir.IntType(32),
    "word64": ir.IntType(64),
    "mask": ir.IntType(1),
}
INDEX = ir.IntType(32)
INSTRUCTIONS = {
    "float": {
        "add": "fadd",
        "subtract": "fsub",
        "multiply": "fmul",
        "divide": "fdiv",
        "negative": "fneg",
    },
    "word": {
        "add": "add",
        "subtract": "sub",
        "multiply": "mul",
        "and": "and_",
        "or": "or_",
        "xor": "xor",
        "shift_left": "shl",
        "shift_right": "lshr",
    },
    "mask": {"and": "and_", "or": "or_", "xor": "xor"},
}
COMPARISONS = {"less": "<", "less_equal": "<=", "equal": "==", "not_equal": "!="}


class Splat(ir.Constant):  # type: ignore[misc]
    """A constant vector in LLVM's short form; the long form dominates the text."""

    def __init__(self, vector: ir.VectorType, scalar: ir.Constant) -> None:
        super().__init__(vector, None)
        self.scalar = scalar

    def get_reference(self) -> str:
        """Return the constant in LLVM's syntax."""
        return f"splat ({self.scalar})"


class VectorArithmetic(Arithmetic):
    """Emits instructions on vectors at a builder's position.

    Attributes:
        builder: where instructions are emitted; ``rarely`` moves it to a new block.
        width: lanes of a vector.
    """

    def __init__(self, builder: ir.IRBuilder, width: int) -> None:
        self.builder = builder
        self.width = width

    def vector(self, kind: str) -> ir.VectorType:
        """Return the type of such lanes."""
        return ir.VectorType(ELEMENT[kind], self.width)

    def lanes(self, value: ir.Value, kind: str) -> Lanes:
        """Return a vector as lanes."""
        return Lanes(self, value, kind)

    def splat(self, scalar: ir.Value, kind: str) -> Lanes:
        """Return a scalar in every lane."""
        one = self.builder.insert_element(
            ir.Constant(self.vector(kind), ir.Undefined),
            scalar,
            INDEX(0),
        )
        zeros = ir.Constant(ir.VectorType(INDEX, self.width), None)
        return Lanes(self, self.builder.shuffle_vector(one, one, zeros), kind)

    def constant(self, kind: str, number: float) -> ir.Constant:
        """Return a number, rounded to the kind, in every lane."""
        rounded: Any = DTYPE[kind](word(kind, number) if kind in FLOAT else number)
        scalar = ir.Constant(ELEMENT[kind], rounded.item())
        return Splat(self.vector(kind), scalar)

    def apply(self, operation: str, kind: str, to: str, *operands: Any) -> ir.Value:
        """Return one instruction, or a call of the intrinsic square root."""
        if operation == "bits":
            return self.builder.bitcast(*operands, self.vector(to))
        if operation == "convert":
            return self._convert(kind, to, *operands)
        if operation == "sqrt":
            vector = self.vector(kind)
            name = f"llvm.sqrt.v{self.width}f{kind[5:]}"
            root = self.builder.module.globals.get(name) or ir.Function(
                self.builder.module, ir.FunctionType(vector, [vector]), name
            )
            return self.builder.call(root, operands)
        if operation in COMPARISONS:
            return self._compare(COMPARISONS[operation], kind, *operands)
        instruction = INSTRUCTIONS[kind.rstrip("0123456789")][operation]
        return getattr(self.builder, instruction)(*operands)

    def _compare(self, sign: str, kind: str, a: ir.Value, b: ir.Value) -> ir.Value:
        if not kind.startswith("float"):
            return self.builder.icmp_unsigned(sign, a, b)
        if sign == "!=":
            return self.builder.fcmp_unordered(sign, a, b)
        return self.builder.fcmp_ordered(sign, a, b)

    def _convert(self, kind: str, to: str, value: ir.Value) -> ir.Value:
        if kind == "mask":
            return self.builder.uitofp(value, self.vector(to))
        if to == "word32":
            return self.builder.trunc(value, self.vector(to))
        if to == "float64":
            return self.builder.fpext(value, self.vector(to))
        return self.builder.fptrunc(value, self.vector(to))

    def lookup(self, kind: str, table: Sequence[int], index: ir.Value) -> ir.Value:
        """Load from a constant array, lane by lane."""
        module = self.builder.module
        array = ir.ArrayType(ELEMENT[kind], len(table))
        name = f"table.{kind}.{hash(tuple(table)):x}"
        if name not in module.globals:
            data = ir.GlobalVariable(module, array, name)
            data.global_constant = True
            data.linkage = "internal"
            data.initializer = ir.Constant(array, list(table))
        data = module.globals[name]
        zero = INDEX(0)
        found: ir.Value = ir.Constant(self.vector(kind), ir.Undefined)
        for lane in range(self.width):
            number = INDEX(lane)
            place = self.builder.extract_element(index, number)
            word = self.builder.load(self.builder.gep(data, [zero, place]))
            found = self.builder.insert_element(found, word, number)
        return found

    def select(self, condition: Any, chosen: Any, otherwise: Any) -> ir.Value:
        """Return one value where the condition holds, the other elsewhere."""
        return self.builder.select(condition, chosen, otherwise)

    def rarely(
        self,
        condition: Lanes,
        slow: Formula,
        operands: Sequence[Lanes],
        usual: Sequence[Lanes],
    ) -> tuple[Lanes, ...]:
        """Return the usual lanes, replaced in a branch that is rarely taken."""
        builder = self.builder
        marks = ir.IntType(self.width)
        needed = builder.bitcast(condition.value, marks)
        before = builder.block
        with builder.if_then(
            builder.icmp_unsigned("!=", needed, marks(0)), likely=False
        ):
            values = [lanes.value for lanes in (*operands, *usual)]
            replace = self._replacing(slow, operands, usual)
            replaced = builder.call(replace, [needed, *values])
            replaced = [builder.extract_value(replaced, i) for i in range(len(usual))]
        results = []
        for lanes, value in zip(usual, replaced, strict=True):
            phi = builder.phi(value.type)
            phi.add_incoming(lanes.value, before)
            phi.add_incoming(value, value.parent)
            results.append(self.lanes(phi, lanes.kind))
        return tuple(results)

    def _replacing(
        self, slow: Formula, operands: Sequence[Lanes], usual: Sequence[Lanes]
    ) -> ir.Function:
        """Return a function that replaces the marked lanes, one after the other.

        Code for one lane compiles many times faster than code for all, and runs as fast
        where few lanes are marked.
        """
        module, marks = self.builder.module, ir.IntType(self.width)
        kinds = [lanes.kind for lanes in operands]
        name = f"{slow.__name__}.{'.'.join(kinds)}.{self.width}"
        if name in module.globals:
            return module.globals[name]
        vectors = [lanes.value.type for lanes in (*operands, *usual)]
        struct = ir.LiteralStructType(vectors[len(kinds) :])
        function = ir.Function(module, ir.FunctionType(struct, [marks, *vectors]), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        marked, *values = function.args
        before, loop, end = (function.append_basic_block() for _ in range(3))
        ir.IRBuilder(before).branch(loop)
        builder = ir.IRBuilder(loop)
        phis = []
        for value in (marked, *values[len(kinds) :]):
            phis.append(builder.phi(value.type))
            phis[-1].add_incoming(value, before)
        marked, *results = phis
        lane = builder.cttz(marked, ir.IntType(1)(1))
        one = VectorArithmetic(builder, 1)
        replaced = slow(*map(one._single, values, kinds, [lane] * len(kinds)))
        results = [
            builder.insert_element(
                result, builder.extract_element(new.value, INDEX(0)), lane
            )
            for result, new in zip(results, replaced, strict=True)
        ]
        left = builder.and_(marked, builder.sub(marked, marks(1)))
        for phi, value in zip(phis, (left, *results), strict=True):
            phi.add_incoming(value, builder.block)
        builder.cbranch(builder.icmp_unsigned("!=", left, marks(0)), loop, end)
        builder.position_at_end(end)
        packed: ir.Value = ir.Constant(struct, ir.Undefined)
        for i, value in enumerate(results):
            packed = builder.insert_value(packed, value, i)
        builder.ret(packed)
        return function

    def _single(self, vector: ir.Value, kind: str, lane: ir.Value) -> Lanes:
        """Return one lane of a vector, as a vector of width 1."""
        scalar = self.builder.extract_element(vector, lane)
        return self.lanes(self.builder.bitcast(scalar, self.vector(kind)), kind)
