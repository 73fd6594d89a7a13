"""Formulas over lanes, compiled for this machine or for less than it has."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dtrain.engine.fused.lanes import DTYPE

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


class Native:
    """Formulas, each compiled into a loop over arrays; skips where it cannot run."""

    def __init__(
        self,
        formulas: Mapping[str, Callable[..., Any]],
        kind: str,
        target: str = "host",
        operands: int = 1,
    ) -> None:
        pytest.importorskip("llvmlite")
        from llvmlite import binding as llvm
        from llvmlite import ir

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        features = llvm.get_host_cpu_features()
        if target != "host" and not features.get(NEEDS.get(target, "sse2")):
            pytest.skip(f"this machine does not run {target}")
        self.width = 16 if kind == "float32" else 8
        module = ir.Module()
        for name, formula in formulas.items():
            self._loop(module, name, formula, kind, operands)
        source = llvm.parse_assembly(str(module))
        source.verify()
        machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name() if target == "host" else target,
            features=features.flatten() if target == "host" else "",
            opt=2,
        )
        passes = llvm.create_pass_builder(
            machine, llvm.create_pipeline_tuning_options(speed_level=2)
        )
        passes.getModulePassManager().run(source, passes)
        self.engine = llvm.create_mcjit_compiler(source, machine)
        self.engine.finalize_object()

    def _loop(
        self,
        module: Any,
        name: str,
        formula: Callable[..., Any],
        kind: str,
        operands: int,
    ) -> None:
        from llvmlite import ir

        from dtrain.engine.fused.lanes_ir import ELEMENT, VectorArithmetic

        word = ir.IntType(64)
        pointer = ELEMENT[kind].as_pointer()
        types = [*[pointer] * (operands + 1), word]
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), types), name)
        *arrays, result, size = function.args
        builder = ir.IRBuilder(function.append_basic_block())
        lanes = VectorArithmetic(builder, self.width)
        place = lanes.vector(kind).as_pointer()
        before, loop = builder.block, function.append_basic_block()
        builder.branch(loop)
        builder.position_at_end(loop)
        i = builder.phi(word)
        i.add_incoming(word(0), before)

        def at(array: Any) -> Any:
            return builder.bitcast(builder.gep(array, [i]), place)

        align = np.dtype(DTYPE[kind]).itemsize
        vectors = [builder.load(at(array), align=align) for array in arrays]
        value = formula(*(lanes.lanes(vector, kind) for vector in vectors)).value
        builder.store(value, at(result), align=align)
        following = builder.add(i, word(self.width))
        i.add_incoming(following, builder.block)
        end = function.append_basic_block()
        builder.cbranch(builder.icmp_unsigned("<", following, size), loop, end)
        builder.position_at_end(end)
        builder.ret_void()

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
