"""Native code: compile with LLVM for this machine, and load into the process."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from dtrain.engine.fused.form import Form

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()

Host = tuple[str, str]
"""A processor's name and its features, as LLVM calls them."""


def host() -> Host:
    """Return the processor's name and features."""
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def key(forms: Sequence[Form], host: Host) -> str:
    """Return a digest of everything that the code depends on.

    The IR follows from the forms and from the source files that emit it, so a kernel
    that was compiled before is found without emitting its IR again.
    """
    digest = hashlib.sha256()
    for part in (*host, llvmlite.__version__, *map(str, llvm.llvm_version_info)):
        digest.update(part.encode() + b"\0")
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    for form in forms:
        digest.update(form.name.encode())
    return digest.hexdigest()


def compiled(forms: Sequence[Form], host: Host) -> bytes:
    """Return the object code of forms' kernels, and of the driver that runs them."""
    from dtrain.engine.fused.emit import source  # needed only to compile

    module = llvm.parse_assembly(source(forms))
    module.verify()
    machine = _machine(host)
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = False
    options.loop_unrolling = False
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    code: bytes = machine.emit_object(module)
    return code


def _machine(host: Host) -> Any:
    cpu, features = host
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=cpu, features=features, opt=2, reloc="pic", codemodel="default"
    )


class Library:
    """Object code in memory, which is freed with this object.

    Attributes:
        run: ``run(tape, n)`` calls the n kernels of a tape: pairs of the address of a
            kernel and that of its arguments.
    """

    def __init__(self, code: bytes, host: Host) -> None:
        self._engine = llvm.create_mcjit_compiler(
            llvm.parse_assembly(""), _machine(host)
        )
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        signature = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
        self.run = signature(self._engine.get_function_address("dtrain_run"))

    def address(self, form: Form) -> int:
        """Return the address of a form's kernel."""
        address: int = self._engine.get_function_address(form.name)
        return address
