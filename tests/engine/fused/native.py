"""Compile formulas over lanes, for this machine or for one with fewer features."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dtrain.engine.fused.lanes.lanes import DTYPE

FLOATS = ["float32", "float64"]
# Processors with and without fused multiply-add and AVX-512.
TARGETS = ["host", "x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"]
# What a host must have to run the code of a target.
NEEDS = {"x86-64-v2": "sse4.2", "x86-64-v3": "avx2", "x86-64-v4": "avx512vl"}


def same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two arrays hold the same bits, but for signs and payloads of NaN."""
    word = f"u{a.itemsize}"
    both_nan = np.isnan(a) & np.isnan(b)
    return a.dtype == b.dtype and bool(
        (both_nan | (a.view(word) == b.view(word))).all()
    )


Formulas = Mapping[str, Callable[..., Any]]


def width(kind: str) -> int:
    """Lanes of a vector: 64 bytes."""
    return 64 // np.dtype(DTYPE[kind]).itemsize


def loops(formulas: Formulas, kind: str, operands: int) -> str:
    """LLVM IR of a loop over arrays for each formula; skips without llvmlite."""
    pytest.importorskip("llvmlite")
    from llvmlite import ir

    module = ir.Module()
    for name, formula in formulas.items():
        _loop(module, name, formula, kind, operands)
    return str(module)


def _loop(
    module: Any, name: str, formula: Callable[..., Any], kind: str, operands: int
) -> None:
    from llvmlite import ir

    from dtrain.engine.fused.lanes.lanes_ir import ELEMENT, VectorArithmetic

    word = ir.IntType(64)
    pointer = ELEMENT[kind].as_pointer()
    types = [*[pointer] * (operands + 1), word]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), types), name)
    *arrays, result, size = function.args
    before, loop, end = (function.append_basic_block() for _ in range(3))
    ir.IRBuilder(before).branch(loop)
    builder = ir.IRBuilder(loop)
    lanes = VectorArithmetic(builder, width(kind))
    place = lanes.vector(kind).as_pointer()
    i = builder.phi(word)
    i.add_incoming(word(0), before)

    def at(array: Any) -> Any:
        return builder.bitcast(builder.gep(array, [i]), place)

    align = np.dtype(DTYPE[kind]).itemsize
    vectors = [builder.load(at(array), align=align) for array in arrays]
    value = formula(*(lanes.lanes(vector, kind) for vector in vectors)).value
    builder.store(value, at(result), align=align)
    following = builder.add(i, word(width(kind)))
    i.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_unsigned("<", following, size), loop, end)
    ir.IRBuilder(end).ret_void()


def optimised(source: str, machine: Any) -> Any:
    """A module after LLVM's passes for a machine."""
    from llvmlite import binding as llvm

    module = llvm.parse_assembly(source)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module


def assembly(source: str, triple: str, cpu: str) -> str:
    """What a processor of any kind would run; skips if this LLVM does not know it."""
    from llvmlite import binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        target = llvm.Target.from_triple(triple)
    except RuntimeError:
        pytest.skip(f"this LLVM does not know {triple}")
    machine = target.create_target_machine(cpu=cpu, opt=2, codemodel="small")
    text: str = machine.emit_assembly(optimised(source, machine))
    return text


class Native:
    """Formulas, each compiled into a loop over arrays; skips where it cannot run."""

    def __init__(
        self, formulas: Formulas, kind: str, target: str = "host", operands: int = 1
    ) -> None:
        source = loops(formulas, kind, operands)
        from llvmlite import binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        features = llvm.get_host_cpu_features()
        if target != "host" and not features.get(NEEDS.get(target, "sse2")):
            pytest.skip(f"this machine does not run {target}")
        machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name() if target == "host" else target,
            features=features.flatten() if target == "host" else "",
            opt=2,
        )
        self.width = width(kind)
        self.engine = llvm.create_mcjit_compiler(optimised(source, machine), machine)
        self.engine.finalize_object()

    def __call__(self, name: str, *arrays: NDArray[Any]) -> NDArray[Any]:
        """The formula of that name on arrays of one length, padded to whole vectors."""
        size = arrays[0].size
        padded = [np.pad(array, (0, -size % self.width)) for array in arrays]
        padded.append(np.empty_like(padded[0]))
        signature = ctypes.CFUNCTYPE(
            None, *[ctypes.c_void_p] * len(padded), ctypes.c_int64
        )
        loop = signature(self.engine.get_function_address(name))
        loop(*(array.ctypes.data for array in padded), padded[-1].size)
        return padded[-1][:size]
