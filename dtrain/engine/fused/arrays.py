"""An array of a kernel: how vectors of it are read and written in the loops."""

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
        port: what it is.
        real: the dtype of reals.
        vectors: what emits.
        address: where it begins.
        strides: in bytes, one for each loop.

    Attributes:
        row: where the current row begins.
        place: where the innermost loop reads or writes: the row, or the spare vector.
        step: the stride there.
        spare: room for a vector, for what is left over at the end of a row.
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
        self.place: Any = None
        self.step: Any = None
        self.element = MEMORY[port.dtype]
        self.size = SIZE[port.dtype]
        self.moves = port.access in ("all", "some")
        self._real = real
        self._vectors = vectors
        self._builder = vectors.builder
        self._vector = ir.VectorType(self.element, vectors.width)
        if self.moves:
            self.spare = self._builder.alloca(ir.ArrayType(self.element, vectors.width))
            self.spare.align, self.spare.type = ALIGNMENT, POINTER

    def splat(self) -> Lanes:
        """Return the row's one element, in every lane."""
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
        """Copy what is left over after ``full`` to the spare vector, after ones."""
        one = 1.0 if self.port.dtype.startswith("float") else 1
        ones = ir.Constant(self._vector, [one] * self._vectors.width)
        self._builder.store(ones, self.spare, align=ALIGNMENT)
        size, start = WORD(self.size), self._left_over(full)
        self._copy(self.spare, size, start, self.strides[-1], rest)

    def empty(self, full: ir.Value, rest: ir.Value) -> None:
        """Copy the spare vector to where it belongs."""
        size, start = WORD(self.size), self._left_over(full)
        self._copy(start, self.strides[-1], self.spare, size, rest)

    def _at(self, i: ir.Value) -> ir.Value:
        if self.port.access == "all":
            return self._builder.gep(self.place, [i], source_etype=self.element)
        offset = self._builder.mul(i, self.step)
        return self._builder.gep(self.place, [offset], source_etype=BYTE)

    def _left_over(self, full: ir.Value) -> ir.Value:
        offset = self._builder.mul(full, self.strides[-1])
        return self._builder.gep(self.row, [offset], source_etype=BYTE)

    def _copy(self, *arguments: ir.Value) -> None:
        copy = _copier(self._builder.module, self.size)
        self._builder.call(copy, arguments)


def _copier(module: ir.Module, size: int) -> ir.Function:
    """A function ``copy(to, its stride, from, its stride, n)``, once a module."""
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
