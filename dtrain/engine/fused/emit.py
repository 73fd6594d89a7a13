"""From a form to LLVM IR: one loop whose values are vectors.

The number of lanes is fixed for each dtype, on every machine. Elements left over at a
row's end are copied to a full vector, go through the same loop once more, and are
copied back. So there is one loop, and an element's bits do not depend on its index in a
row. A sum has one accumulator for each lane: element i is added to lane i modulo the
lanes, and the lanes are added as a binary tree. The order depends on the row's length
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from dtrain.engine.fused.arrays import BYTE, INDEX, MEMORY, POINTER, WORD, Array
from dtrain.engine.fused.elementary import sincos
from dtrain.engine.fused.form import LANES, Form
from dtrain.engine.fused.lanes.lanes import Lanes, select
from dtrain.engine.fused.lanes.lanes_ir import VectorArithmetic
from dtrain.engine.fused.operations import OPERATIONS

TURNS = {"sin": 0, "cos": 1}
TRUTH = ir.IntType(1)


def source(forms: Sequence[Form]) -> str:
    """Return the IR of a module with each form's ``void name(int64 arguments[])``."""
    module = ir.Module("dtrain")
    signature = ir.FunctionType(ir.VoidType(), [POINTER])
    for form in forms:
        _Kernel(ir.Function(module, signature, form.name), form)
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


class _Kernel:
    """The emission of one kernel."""

    def __init__(self, function: ir.Function, form: Form) -> None:
        self.function = function
        self.form = form
        self.builder = builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.vectors = VectorArithmetic(builder, form.width)
        words = iter(range(1 << 30))

        def word() -> ir.Value:
            (pointer,) = function.args
            at = builder.gep(pointer, [WORD(next(words))], source_etype=WORD)
            return builder.load(at, typ=WORD)

        lengths = [word() for _ in range(form.depth + 1)]
        self.arrays = []
        for port in (*form.operands, *form.results):
            address = builder.inttoptr(word(), POINTER)
            strides = [word() for _ in range(form.depth + (port.access != "sum"))]
            self.arrays.append(Array(port, form.dtype, self.vectors, address, strides))
        self.moving = [array for array in self.arrays if array.moves]
        self.sums = [a for a in self.arrays if a.port.access == "sum"]
        self.sum_type = ir.VectorType(MEMORY[form.dtype], LANES[form.dtype])
        self.full = builder.and_(lengths[-1], WORD(-form.width))
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
        """Emit a row: first the full vectors, then the rest, by one loop."""
        builder, block = self.builder, self.function.append_basic_block
        before = builder.block
        splats = {a: a.splat() for a in self.arrays if a.port.access == "one"}
        phase, loop, after = block("phase"), block("loop"), block("after")
        check, fill = block("check"), block("fill")
        empty, done = block("empty"), block("done")
        builder.branch(phase)

        builder.position_at_end(phase)
        last = self._phi(TRUTH, (TRUTH(0), before), (TRUTH(1), fill))
        width = WORD(self.form.width)
        count = self._phi(WORD, (self.full, before), (width, fill))
        self._place_arrays(before, fill)
        zero = ir.Constant(self.sum_type, None)
        begun = [self._phi(self.sum_type, (zero, before)) for _ in self.sums]
        every = self.vectors.constant("mask", 1)
        counted = self._phi(every.type, (every, before))
        builder.cbranch(builder.icmp_unsigned("<", WORD(0), count), loop, after)

        builder.position_at_end(loop)
        i = self._phi(WORD, (WORD(0), phase))
        so_far = [self._phi(self.sum_type, (start, phase)) for start in begun]
        added = self._body(i, splats, so_far, self.vectors.lanes(counted, "mask"))
        latch = builder.block
        following = builder.add(i, width)
        for phi, value in zip((i, *so_far), (following, *added), strict=True):
            phi.add_incoming(value, latch)
        builder.cbranch(builder.icmp_unsigned("<", following, count), loop, after)

        builder.position_at_end(after)
        totals = [
            self._phi(self.sum_type, (start, phase), (value, latch))
            for start, value in zip(begun, added, strict=True)
        ]
        builder.cbranch(last, empty, check)
        builder.position_at_end(check)
        nothing = builder.icmp_unsigned("==", self.rest, WORD(0))
        builder.cbranch(nothing, done, fill)

        builder.position_at_end(fill)
        for array in self.moving:
            if array.port.value < 0:
                array.fill(self.full, self.rest)
        counts = (self._first_lanes(), *totals)
        for phi, value in zip((counted, *begun), counts, strict=True):
            phi.add_incoming(value, fill)
        builder.branch(phase)

        builder.position_at_end(empty)
        for array in self.moving:
            if array.port.value >= 0:
                array.empty(self.full, self.rest)
        builder.branch(done)

        builder.position_at_end(done)
        for array, total in zip(self.sums, totals, strict=True):
            builder.store(self._tree(total), array.row, align=array.size)

    def _place_arrays(self, before: ir.Block, fill: ir.Block) -> None:
        """Set the base of arrays in the loop: the row, then the scratch vectors."""
        for array in self.moving:
            array.base = self._phi(POINTER, (array.row, before), (array.scratch, fill))
            if array.port.access == "some":
                stride, size = array.strides[-1], WORD(array.size)
                array.step = self._phi(WORD, (stride, before), (size, fill))

    def _phi(self, kind: ir.Type, *incoming: tuple[ir.Value, ir.Block]) -> Any:
        phi = self.builder.phi(kind)
        for value, block in incoming:
            phi.add_incoming(value, block)
        return phi

    def _body(
        self,
        i: ir.Value,
        splats: dict[Array, Lanes],
        so_far: Sequence[ir.Value],
        counted: Lanes,
    ) -> list[ir.Value]:
        """Emit one vector of each array; return the sums."""
        operands = self.arrays[: len(self.form.operands)]
        values = [splats[a] if a in splats else a.load(i) for a in operands]
        both: dict[int, tuple[Lanes, Lanes]] = {}  # sine and cosine, by operand
        for operation, numbers in self.form.nodes:
            (first, *_) = numbers
            if operation in TURNS and self._turns_twice(first):
                if first not in both:
                    both[first] = sincos(values[first])
                values.append(both[first][TURNS[operation]])
                continue
            inputs = [values[number] for number in numbers]
            value = OPERATIONS[operation].formula(*inputs)
            real = OPERATIONS[operation].result == "f"
            values.append(value.to(self.form.dtype) if real else value)
        added: list[ir.Value] = []
        for array in self.arrays[len(operands) :]:
            value = values[array.port.value]
            if array.port.access == "sum":
                # Adding −0 changes no bits.
                chosen = select(counted, value, -0.0)
                added.append(self._added(so_far[len(added)], chosen.value))
            else:
                array.store(i, value)
        return added

    def _added(self, total: ir.Value, value: ir.Value) -> ir.Value:
        """Add the parts of a vector to accumulators, one after the other."""
        lanes = LANES[self.form.dtype]
        for start in range(0, self.form.width, lanes):
            total = self.builder.fadd(total, self._part(value, start, lanes))
        return total

    def _part(self, vector: ir.Value, start: int, count: int) -> ir.Value:
        numbers = list(range(start, start + count))
        indices = ir.Constant(ir.VectorType(INDEX, count), numbers)
        return self.builder.shuffle_vector(vector, vector, indices)

    def _turns_twice(self, operand: int) -> bool:
        """Return whether both the sine and the cosine of a value are needed."""
        return all((name, (operand,)) in self.form.nodes for name in TURNS)

    def _first_lanes(self) -> ir.Value:
        """Return a mask of the lanes that are left over."""
        numbers = ir.Constant(
            ir.VectorType(INDEX, self.form.width), list(range(self.form.width))
        )
        narrow = self.builder.trunc(self.rest, INDEX)
        rest = self.vectors.splat(narrow, "word32").value
        return self.builder.icmp_unsigned("<", numbers, rest)

    def _tree(self, vector: ir.Value) -> ir.Value:
        """Return the sum of the lanes: add halves, then quarters, and so on."""
        width = LANES[self.form.dtype]
        while width > 1:
            width //= 2
            halves = (self._part(vector, start, width) for start in (0, width))
            vector = self.builder.fadd(*halves)
        return self.builder.extract_element(vector, INDEX(0))
