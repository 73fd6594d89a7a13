"""From a form to LLVM IR: one loop whose values are vectors.

Lanes are fixed for each dtype, on every machine. What is left over at a row's end is
copied to a full vector, goes through the same loop once more, and is copied back; so
there is one loop, and an element's bits do not depend on where in a row it is. A sum
has one accumulator for each lane, element i is added to lane i modulo the lanes, and
the lanes are added as a binary tree: the order depends on the row's length alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from dtrain.engine.fused.elementary import sincos
from dtrain.engine.fused.form import LANES, Form, Port
from dtrain.engine.fused.lanes import Lanes, select
from dtrain.engine.fused.lanes_ir import VectorArithmetic
from dtrain.engine.fused.operations import OPERATIONS

TURNS = {"sin": 0, "cos": 1}
BYTE, WORD, POINTER = ir.IntType(8), ir.IntType(64), ir.PointerType()
TRUTH = ir.IntType(1)
MEMORY = {  # an element in memory
    "float32": ir.FloatType(),
    "float64": ir.DoubleType(),
    "bool": BYTE,
    "int64": WORD,
}
SIZE = {"float32": 4, "float64": 8, "bool": 1, "int64": 8}
ALIGNMENT = 64


def source(forms: Sequence[Form]) -> str:
    """The IR of a module with each form's kernel, ``void name(int64 arguments[])``."""
    module = ir.Module("dtrain")
    signature = ir.FunctionType(ir.VoidType(), [POINTER])
    for form in forms:
        _Kernel(ir.Function(module, signature, form.name), form).emit()
    return str(module) + DRIVER


# Calls n kernels, each with its arguments.
DRIVER = """
define void @"dtrain_run"(ptr %tape, i64 %n) {
entry:
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %at = getelementptr {ptr, ptr}, ptr %tape, i64 %i
  %kernel = load ptr, ptr %at
  %beside = getelementptr {ptr, ptr}, ptr %tape, i64 %i, i32 1
  %arguments = load ptr, ptr %beside
  call void %kernel(ptr %arguments)
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}
"""


class _Array:
    """An array of a kernel, as it goes through the loops."""

    def __init__(self, port: Port, address: ir.Value, strides: list[ir.Value]) -> None:
        self.port = port
        self.address = address
        self.strides = strides
        self.element = MEMORY[port.dtype]
        self.size = SIZE[port.dtype]
        self.row: Any = address  # where this row begins
        self.place: Any = None  # in the loop: the row, or what is left over
        self.step: Any = None
        self.spare: Any = None  # room for what is left over


class _Kernel:
    """The emission of one kernel."""

    def __init__(self, function: ir.Function, form: Form) -> None:
        self.function = function
        self.form = form
        self.dtype = form.dtype
        self.width = form.width
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.vectors = VectorArithmetic(self.builder, self.width)

    def emit(self) -> None:
        """Emit it all."""
        builder, form = self.builder, self.form
        (pointer,) = self.function.args
        words = iter(range(1 << 30))

        def word() -> ir.Value:
            at = builder.gep(pointer, [WORD(next(words))], source_etype=WORD)
            return builder.load(at, typ=WORD)

        lengths = [word() for _ in range(form.depth + 1)]
        self.arrays = []
        for port in (*form.operands, *form.results):
            address = builder.inttoptr(word(), POINTER)
            count = form.depth + (port.access != "sum")
            self.arrays.append(_Array(port, address, [word() for _ in range(count)]))
        self.sums = [a for a in self.arrays if a.port.access == "sum"]
        self.moving = [a for a in self.arrays if a.port.access in ("all", "some")]
        for array in self.moving:
            array.spare = builder.alloca(ir.ArrayType(array.element, self.width))
            array.spare.align, array.spare.type = ALIGNMENT, POINTER
        self.full = builder.and_(lengths[-1], WORD(-self.width))
        self.rest = builder.sub(lengths[-1], self.full)
        self._loops(lengths[:-1], 0)
        builder.ret_void()

    def _loops(self, lengths: Sequence[ir.Value], depth: int) -> None:
        if not lengths:
            self._row()
            return
        builder, before = self.builder, self.builder.block
        starts = [array.row for array in self.arrays]
        loop = self.function.append_basic_block("outer")
        builder.branch(loop)
        builder.position_at_end(loop)
        i = builder.phi(WORD)
        i.add_incoming(WORD(0), before)
        phis = []
        for array, start in zip(self.arrays, starts, strict=True):
            array.row = builder.phi(POINTER)
            array.row.add_incoming(start, before)
            phis.append(array.row)
        self._loops(lengths[1:], depth + 1)
        for array, phi in zip(self.arrays, phis, strict=True):
            moved = builder.gep(phi, [array.strides[depth]], source_etype=BYTE)
            phi.add_incoming(moved, builder.block)
        following = builder.add(i, WORD(1))
        i.add_incoming(following, builder.block)
        done = self.function.append_basic_block("done")
        more = builder.icmp_unsigned("<", following, lengths[0])
        builder.cbranch(more, loop, done)
        builder.position_at_end(done)

    def _row(self) -> None:
        """A row: first what fills vectors, then what is left over, by one loop."""
        builder, block = self.builder, self.function.append_basic_block
        before = builder.block
        splats = {a: self._splat(a) for a in self.arrays if a.port.access == "one"}
        phase, loop, after = block("phase"), block("loop"), block("after")
        fill, empty, done = block("fill"), block("empty"), block("done")
        builder.branch(phase)

        builder.position_at_end(phase)
        last = self._phi(TRUTH, (TRUTH(0), before), (TRUTH(1), fill))
        count = self._phi(WORD, (self.full, before), (WORD(self.width), fill))
        for a in self.moving:
            a.place = self._phi(POINTER, (a.row, before), (a.spare, fill))
            if a.port.access == "some":
                stride = a.strides[-1]
                a.step = self._phi(WORD, (stride, before), (WORD(a.size), fill))
        real = ir.VectorType(MEMORY[self.dtype], LANES[self.dtype])
        zero = ir.Constant(real, None)
        begun = [self._phi(real, (zero, before)) for _ in self.sums]
        counted = None
        if self.sums:
            every = self.vectors.constant("mask", 1)
            counted = self._phi(every.type, (every, before))
        builder.cbranch(builder.icmp_unsigned("<", WORD(0), count), loop, after)

        builder.position_at_end(loop)
        i = self._phi(WORD, (WORD(0), phase))
        so_far = [self._phi(real, (start, phase)) for start in begun]
        added = self._body(i, splats, so_far, counted)
        latch = builder.block
        following = builder.add(i, WORD(self.width))
        i.add_incoming(following, latch)
        for phi, value in zip(so_far, added, strict=True):
            phi.add_incoming(value, latch)
        builder.cbranch(builder.icmp_unsigned("<", following, count), loop, after)

        builder.position_at_end(after)
        totals = [
            self._phi(real, (start, phase), (value, latch))
            for start, value in zip(begun, added, strict=True)
        ]
        nothing = builder.icmp_unsigned("==", self.rest, WORD(0))
        check = block("check")
        builder.cbranch(last, empty, check)
        builder.position_at_end(check)
        builder.cbranch(nothing, done, fill)

        builder.position_at_end(fill)
        for a in self.moving:
            if a.port.value < 0:
                self._fill(a)
        if counted is not None:
            counted.add_incoming(self._first_lanes(), fill)
        for phi, value in zip(begun, totals, strict=True):
            phi.add_incoming(value, fill)
        builder.branch(phase)

        builder.position_at_end(empty)
        for a in self.moving:
            if a.port.value >= 0:
                self._copy(self._left_over(a), a.strides[-1], a.spare, WORD(a.size), a)
        builder.branch(done)

        builder.position_at_end(done)
        for array, total in zip(self.sums, totals, strict=True):
            builder.store(self._tree(total), array.row).align = array.size

    def _phi(self, kind: ir.Type, *incoming: tuple[ir.Value, ir.Block]) -> Any:
        phi = self.builder.phi(kind)
        for value, block in incoming:
            phi.add_incoming(value, block)
        return phi

    def _body(
        self,
        i: ir.Value,
        splats: dict[_Array, Lanes],
        so_far: Sequence[ir.Value],
        counted: ir.Value | None,
    ) -> list[ir.Value]:
        """One vector of each array; return the sums."""
        operands = self.arrays[: len(self.form.operands)]
        values = [splats[a] if a in splats else self._load(a, i) for a in operands]
        turned: dict[int, tuple[Lanes, Lanes]] = {}  # sine and cosine, by operand
        for operation, numbers in self.form.nodes:
            (first, *_) = numbers
            if operation in TURNS and self._turns_twice(first):
                if first not in turned:
                    turned[first] = sincos(values[first])
                values.append(turned[first][TURNS[operation]])
                continue
            inputs = [values[number] for number in numbers]
            value = OPERATIONS[operation].formula(*inputs)
            real = OPERATIONS[operation].result == "f"
            values.append(value.to(self.dtype) if real else value)
        added: list[ir.Value] = []
        for array in self.arrays[len(operands) :]:
            value = values[array.port.value]
            if array.port.access == "sum":
                # Adding −0 changes nothing at all.
                chosen = select(self.vectors.lanes(counted, "mask"), value, -0.0)
                added.append(self._added(so_far[len(added)], chosen.value))
            else:
                self._store(array, i, value)
        return added

    def _added(self, total: ir.Value, value: ir.Value) -> ir.Value:
        """Accumulators with a vector added, a part after the other."""
        lanes = LANES[self.dtype]
        for start in range(0, self.width, lanes):
            total = self.builder.fadd(total, self._part(value, start, lanes))
        return total

    def _part(self, vector: ir.Value, start: int, count: int) -> ir.Value:
        numbers = list(range(start, start + count))
        places = ir.Constant(ir.VectorType(ir.IntType(32), count), numbers)
        return self.builder.shuffle_vector(vector, vector, places)

    def _turns_twice(self, operand: int) -> bool:
        """Whether both the sine and the cosine of a value are wanted."""
        return all((name, (operand,)) in self.form.nodes for name in TURNS)

    def _at(self, array: _Array, i: ir.Value) -> ir.Value:
        if array.port.access == "all":
            element = array.element
            return self.builder.gep(array.place, [i], source_etype=element)
        offset = self.builder.mul(i, array.step)
        return self.builder.gep(array.place, [offset], source_etype=BYTE)

    def _load(self, array: _Array, i: ir.Value) -> Lanes:
        builder = self.builder
        vector = ir.VectorType(array.element, self.width)
        at = self._at(array, i)
        if array.port.access == "all":
            value = builder.load(at, typ=vector, align=array.size)
        else:
            value = ir.Constant(vector, ir.Undefined)
            for lane in range(self.width):
                element = builder.load(at, typ=array.element, align=array.size)
                value = builder.insert_element(value, element, ir.IntType(32)(lane))
                at = builder.gep(at, [array.step], source_etype=BYTE)
        return self._lanes(value, array.port.dtype)

    def _lanes(self, value: ir.Value, dtype: str) -> Lanes:
        if dtype == "bool":
            zero = ir.Constant(value.type, None)
            return self.vectors.lanes(
                self.builder.icmp_unsigned("!=", value, zero), "mask"
            )
        if dtype == "int64":
            real = self.vectors.vector(self.dtype)
            return self.vectors.lanes(self.builder.sitofp(value, real), self.dtype)
        return self.vectors.lanes(value, dtype)

    def _splat(self, array: _Array) -> Lanes:
        builder = self.builder
        scalar = builder.load(array.row, typ=array.element, align=array.size)
        if array.port.dtype == "bool":
            scalar = builder.icmp_unsigned("!=", scalar, BYTE(0))
            return self.vectors.splat(scalar, "mask")
        if array.port.dtype == "int64":
            scalar = builder.sitofp(scalar, MEMORY[self.dtype])
        return self.vectors.splat(scalar, self.dtype)

    def _store(self, array: _Array, i: ir.Value, lanes: Lanes) -> None:
        builder = self.builder
        if array.port.dtype == "bool":
            value = builder.zext(lanes.value, ir.VectorType(BYTE, self.width))
        else:
            value = lanes.value
        at = self._at(array, i)
        if array.port.access == "all":
            builder.store(value, at, align=array.size)
            return
        for lane in range(self.width):
            element = builder.extract_element(value, ir.IntType(32)(lane))
            builder.store(element, at, align=array.size)
            at = builder.gep(at, [array.step], source_etype=BYTE)

    def _left_over(self, array: _Array) -> ir.Value:
        """Where in a row that begins which no longer fills a vector."""
        offset = self.builder.mul(self.full, array.strides[-1])
        return self.builder.gep(array.row, [offset], source_etype=BYTE)

    def _fill(self, array: _Array) -> None:
        """Copy what is left over to a full vector; ones fill it up."""
        one = 1.0 if array.port.dtype.startswith("float") else 1
        vector = ir.VectorType(array.element, self.width)
        ones = ir.Constant(vector, [one] * self.width)
        self.builder.store(ones, array.spare, align=ALIGNMENT)
        start = self._left_over(array)
        self._copy(array.spare, WORD(array.size), start, array.strides[-1], array)

    def _copy(
        self,
        to: ir.Value,
        to_stride: ir.Value,
        start: ir.Value,
        stride: ir.Value,
        array: _Array,
    ) -> None:
        copy = _copier(self.function.module, array.element, array.size)
        self.builder.call(copy, [to, to_stride, start, stride, self.rest])

    def _first_lanes(self) -> ir.Value:
        """A mask of the lanes that are left over."""
        word = ir.IntType(32)
        numbers = ir.Constant(ir.VectorType(word, self.width), list(range(self.width)))
        narrow = self.builder.trunc(self.rest, word)
        rest = self.vectors.splat(narrow, "word32").value
        return self.builder.icmp_unsigned("<", numbers, rest)

    def _tree(self, vector: ir.Value) -> ir.Value:
        """The lanes added: halves, then quarters, and so on."""
        width = LANES[self.dtype]
        while width > 1:
            width //= 2
            halves = (self._part(vector, start, width) for start in (0, width))
            vector = self.builder.fadd(*halves)
        return self.builder.extract_element(vector, ir.IntType(32)(0))


def _copier(module: ir.Module, element: ir.Type, size: int) -> ir.Function:
    """A function that copies n elements, with strides; emitted once a module."""
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
