"""The numerical environment: NumPy, BLAS, C library and CPU features.

If it differs between ranks, training still ends with the same weights on all of them,
because sums are exchanged. But these weights then depend on which rank computed which
block.
"""

from __future__ import annotations

import array
import math
import os
import platform
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from threadpoolctl import threadpool_info

from dtrain import __version__
from dtrain.errors import UsageError
from dtrain.host import pinning

FUNCTIONS = "sin, exp and others of the C library"
PRODUCTS = "matrix products"
# Results that differ need no report where their cause does.
_CAUSES = {FUNCTIONS: ("C library",), PRODUCTS: ("NumPy", "BLAS", "BLAS kernels")}
_ON_RANKS = "  # on every rank (mpirun -x NAME), or train with --bits portable"
_LIBM = "export GLIBC_TUNABLES=glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2  # on every rank"
_IMAGE = "docker pull IMAGE  # the same image, or the same system, on every host"


@cache
def arithmetic() -> dict[str, str]:
    """Return what results depend on, by name; the last two by CRCs of results."""
    extensions = np.show_config("dicts")["SIMD Extensions"]
    # NumPy omits "found" if the processor has no feature above the baseline.
    features = extensions["baseline"] + extensions.get("found", [])
    libraries: list[dict[str, str]] = threadpool_info()
    blas = next((b for b in libraries if b["user_api"] == "blas"), {})
    return {
        "dtrain": __version__,
        "NumPy": np.__version__,
        "processor": platform.machine(),
        "processor features": " ".join(features),
        "BLAS": f"{blas.get('internal_api', 'unknown')} {blas.get('version', '')}",
        "BLAS kernels": blas.get("architecture", "unknown"),
        "C library": _c_library(),
        FUNCTIONS: f"{_functions():08x}",
        PRODUCTS: f"{_products():08x}",
    }


def _c_library() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or "unknown"
    except (ValueError, OSError):  # another C library
        return platform.libc_ver()[0] or "unknown"


def _functions() -> int:
    """Return the CRC-32 of C library results, which depend on the processor, too."""
    x = [20 * (0.618033988749895 * i % 1) - 10 for i in range(500)]
    values = array.array("d")
    for function in (math.exp, math.sin, math.cos, math.tan, math.tanh, math.atan):
        values.extend(map(function, x))
    values.extend(math.log(abs(each) + 0.001) for each in x)
    return zlib.crc32(values.tobytes())


def _products() -> int:
    """Return the CRC-32 of two matrix products like those of a dense layer."""
    x = np.modf(np.arange(48 * 700) * 0.618033988749895)[0].reshape(48, 700)
    found = 0
    for dtype in (np.float32, np.float64):
        left, right = x.astype(dtype), x[::-1].astype(dtype)
        found = zlib.crc32((left @ right.T).tobytes(), found)
    return found


def check_pins() -> None:
    """Check that NumPy and BLAS use the arithmetic that DTRAIN_BITS requests.

    Raises:
        UsageError: they do not, with the reason and a fix.
    """
    if pinning.chosen() == "native":
        return
    here = arithmetic()
    wrong = pinning.shortfall(here["processor features"].split(), here["BLAS kernels"])
    if wrong:
        raise UsageError(
            f"--bits portable is the AVX2 level, but {wrong}; if NumPy was imported "
            f"before dtrain, import dtrain first, with {pinning.VARIABLE}=portable in "
            "the environment"
        )


@dataclass(frozen=True)
class Difference:
    """A part of the numerical environment that differs between ranks.

    Attributes:
        what: its name in `arithmetic`.
        values: its value on each rank.
        odd: the ranks whose value is not the most frequent one.
        fix: a command that removes the difference.
    """

    what: str
    values: Sequence[str]
    odd: Sequence[int]
    fix: str

    def describe(self, hosts: Sequence[str]) -> str:
        """Return which ranks, as host:rank, have which value."""
        most = next(v for r, v in enumerate(self.values) if r not in self.odd)
        ranks: dict[str, list[str]] = {}
        for rank in self.odd:
            ranks.setdefault(self.values[rank], []).append(f"{hosts[rank]}:{rank}")
        parts = [f"{value} on {', '.join(names)}" for value, names in ranks.items()]
        return f"{self.what}: {', '.join(parts)}, {most} on the others"


def differences(environments: Sequence[dict[str, str]]) -> list[Difference]:
    """Compare the `arithmetic` of all ranks; leave out what another one causes."""
    found: list[Difference] = []
    for what in environments[0]:
        if {known.what for known in found} & set(_CAUSES.get(what, ())):
            continue
        values = [facts.get(what, "unknown") for facts in environments]
        most = Counter(values).most_common(1)[0][0]
        odd = [rank for rank, value in enumerate(values) if value != most]
        if odd:
            found.append(Difference(what, values, odd, _fix(what, values)))
    return found


def _fix(what: str, values: Sequence[str]) -> str:
    """Return a command that makes these values the same on all ranks."""
    if what == "processor features":
        sets = [frozenset(value.split()) for value in values]
        common = frozenset.intersection(*sets)
        extra = " ".join(sorted(frozenset.union(*sets) - common))
        return f"export NPY_DISABLE_CPU_FEATURES='{extra}'{_ON_RANKS}"
    if what in ("BLAS kernels", PRODUCTS):
        return (
            f"export OPENBLAS_CORETYPE={pinning.PINS['OPENBLAS_CORETYPE']}{_ON_RANKS}"
        )
    if what == FUNCTIONS:
        return _LIBM
    if what in ("dtrain", "NumPy"):
        return f"pip install {what.lower()}=={max(values)}  # on every host"
    if what == "BLAS":
        version = np.__version__
        return f"pip install --force-reinstall numpy=={version}  # on every host"
    return _IMAGE
