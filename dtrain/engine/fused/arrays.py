"""An array of a kernel: how the loops read and write its vectors."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from dtrain.engine.fused.form import Port
from dtrain.engine.fused.lanes.lanes import Lanes
from dtrain.engine.fused.lanes.lanes_ir import VectorArithmetic

BYTE, INDEX, WORD = ir.IntType(8), ir.IntType(32), ir.IntType(64)
POINTER = ir.PointerType()
MEMORY = {  # an element in memory
    "float32": ir.FloatType(),
    "float64": ir.DoubleType(),
    "bool": BYTE,
    "int64": WORD,
}
SIZE = {"float32": 4, "float64": 8, "bool": 1, "int64": 8}
ALIGNMENT = 64


class Array:
    """An array as it goes through a kernel's loops.

    Args:
        port: the array's dtype and access.
        real: the dtype of reals.
        vectors: the arithmetic that emits instructions.
        address: the address of its first element.
        strides: in bytes, one for each loop.

    Attributes:
        row: the address of the current row.
        base: the address that the innermost loop uses: the row, or the scratch vector.
        step: the stride there.
        scratch: memory for a vector, for the elements left over at the end of a row.
    """

    def __init__(
        self,
        port: Port,
        real: str,
        vectors: VectorArithmetic,
        address: ir.Value,
        strides: list[ir.Value],
    ) -> None:
        self.port = port
        self.row: Any = address
        self.strides = strides
        self.base: Any = None
        self.step: Any = None
        self.element = MEMORY[port.dtype]
        self.size = SIZE[port.dtype]
        self.moves = port.access in ("all", "some")
        self._real = real
        self._vectors = vectors
        self._builder = vectors.builder
        self._vector = ir.VectorType(self.element, vectors.width)
        if self.moves:
            self.scratch = self._builder.alloca(
                ir.ArrayType(self.element, vectors.width)
            )
            self.scratch.align, self.scratch.type = ALIGNMENT, POINTER

    def splat(self) -> Lanes:
        """Return the row's only element in every lane."""
        scalar = self._builder.load(self.row, typ=self.element, align=self.size)
        if self.port.dtype == "bool":
            scalar = self._builder.icmp_unsigned("!=", scalar, BYTE(0))
            return self._vectors.splat(scalar, "mask")
        if self.port.dtype == "int64":
            scalar = self._builder.sitofp(scalar, MEMORY[self._real])
        return self._vectors.splat(scalar, self._real)

    def load(self, i: ir.Value) -> Lanes:
        """Return the vector that begins with element i."""
        builder, at = self._builder, self._at(i)
        if self.port.access == "all":
            value = builder.load(at, typ=self._vector, align=self.size)
        else:
            value = ir.Constant(self._vector, ir.Undefined)
            for lane in range(self._vectors.width):
                element = builder.load(at, typ=self.element, align=self.size)
                value = builder.insert_element(value, element, INDEX(lane))
                at = builder.gep(at, [self.step], source_etype=BYTE)
        if self.port.dtype == "bool":
            zero = ir.Constant(self._vector, None)
            return self._vectors.lanes(builder.icmp_unsigned("!=", value, zero), "mask")
        if self.port.dtype == "int64":
            value = builder.sitofp(value, self._vectors.vector(self._real))
        return self._vectors.lanes(value, self._real)

    def store(self, i: ir.Value, lanes: Lanes) -> None:
        """Write the vector that begins with element i."""
        builder, at, value = self._builder, self._at(i), lanes.value
        if self.port.dtype == "bool":
            value = builder.zext(value, self._vector)
        if self.port.access == "all":
            builder.store(value, at, align=self.size)
            return
        for lane in range(self._vectors.width):
            element = builder.extract_element(value, INDEX(lane))
            builder.store(element, at, align=self.size)
            at = builder.gep(at, [self.step], source_etype=BYTE)

    def fill(self, full: ir.Value, rest: ir.Value) -> None:
        """Fill the scratch vector with ones, then with the elements after ``full``."""
        one = 1.0 if self.port.dtype.startswith("float") else 1
        ones = ir.Constant(self._vector, [one] * self._vectors.width)
        self._builder.store(ones, self.scratch, align=ALIGNMENT)
        size, start = WORD(self.size), self._left_over(full)
        self._copy(self.scratch, size, start, self.strides[-1], rest)

    def empty(self, full: ir.Value, rest: ir.Value) -> None:
        """Copy the scratch vector to the elements after ``full``."""
        size, start = WORD(self.size), self._left_over(full)
        self._copy(start, self.strides[-1], self.scratch, size, rest)

    def _at(self, i: ir.Value) -> ir.Value:
        if self.port.access == "all":
            return self._builder.gep(self.base, [i], source_etype=self.element)
        offset = self._builder.mul(i, self.step)
        return self._builder.gep(self.base, [offset], source_etype=BYTE)

    def _left_over(self, full: ir.Value) -> ir.Value:
        offset = self._builder.mul(full, self.strides[-1])
        return self._builder.gep(self.row, [offset], source_etype=BYTE)

    def _copy(self, *arguments: ir.Value) -> None:
        copy = _copier(self._builder.module, self.size)
        self._builder.call(copy, arguments)


def _copier(module: ir.Module, size: int) -> ir.Function:
    """Return the function ``copy(to, its stride, from, its stride, n)`` of a module."""
    name = f"copy{size}"
    if name in module.globals:
        return module.globals[name]
    element = ir.IntType(8 * size)
    kind = ir.FunctionType(ir.VoidType(), [POINTER, WORD, POINTER, WORD, WORD])
    function = ir.Function(module, kind, name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    to, to_stride, start, stride, count = function.args
    builder = ir.IRBuilder(function.append_basic_block())
    before, loop = builder.block, function.append_basic_block()
    done = function.append_basic_block()
    builder.branch(loop)
    builder.position_at_end(loop)
    i = builder.phi(WORD)
    i.add_incoming(WORD(0), before)
    source = builder.gep(start, [builder.mul(i, stride)], source_etype=BYTE)
    value = builder.load(source, typ=element, align=size)
    target = builder.gep(to, [builder.mul(i, to_stride)], source_etype=BYTE)
    builder.store(value, target, align=size)
    following = builder.add(i, WORD(1))
    i.add_incoming(following, loop)
    builder.cbranch(builder.icmp_unsigned("<", following, count), loop, done)
    builder.position_at_end(done)
    builder.ret_void()
    return function
