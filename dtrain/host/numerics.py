"""What the bits of this process depend on, and whether all ranks are alike in it.

Ranks that differ still end with the same weights on every rank, because sums are
exchanged; but these weights then depend on which rank computed which block.
"""

from __future__ import annotations

import array
import json
import logging
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
from dtrain.host.pinning import PINS
from dtrain.worlds.world import World

LOG = logging.getLogger("dtrain")
FUNCTIONS = "sin, exp and others of the C library"
PRODUCTS = "matrix products"
# What comes out otherwise for one of these reasons need not be told, too.
_CAUSES = {FUNCTIONS: ("C library",), PRODUCTS: ("NumPy", "BLAS", "BLAS kernels")}
_WIDE = "  # on every rank (mpirun -x NAME), or train with --bits portable"
_LIBM = "export GLIBC_TUNABLES=glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2  # on every rank"
_IMAGE = "docker pull IMAGE  # the same image, or the same system, on every host"


@cache
def arithmetic() -> dict[str, str]:
    """What results depend on, by name; the last two by what comes out of them."""
    extensions = np.show_config("dicts")["SIMD Extensions"]
    # NumPy leaves "found" out where a processor has nothing above the baseline.
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
    """CRC-32 of values of the C library, which chooses by the processor, too."""
    x = [20 * (0.618033988749895 * i % 1) - 10 for i in range(500)]
    values = array.array("d")
    for function in (math.exp, math.sin, math.cos, math.tan, math.tanh, math.atan):
        values.extend(map(function, x))
    values.extend(math.log(abs(each) + 0.001) for each in x)
    return zlib.crc32(values.tobytes())


def _products() -> int:
    """CRC-32 of two matrix products, as any dense layer has them."""
    x = np.modf(np.arange(48 * 700) * 0.618033988749895)[0].reshape(48, 700)
    found = 0
    for dtype in (np.float32, np.float64):
        left, right = x.astype(dtype), x[::-1].astype(dtype)
        found = zlib.crc32((left @ right.T).tobytes(), found)
    return found


@dataclass(frozen=True)
class Difference:
    """Something that bits depend on, in which ranks are not alike.

    Attributes:
        what: its name in `arithmetic`.
        values: what each rank has.
        odd: the ranks that are not as most are.
        cure: what makes them alike.
    """

    what: str
    values: Sequence[str]
    odd: Sequence[int]
    cure: str

    def describe(self, hosts: Sequence[str]) -> str:
        """Who has what, for a person."""
        most = next(v for r, v in enumerate(self.values) if r not in self.odd)
        each: dict[str, list[str]] = {}
        for rank in self.odd:
            each.setdefault(self.values[rank], []).append(f"{hosts[rank]}:{rank}")
        told = [f"{value} on {', '.join(ranks)}" for value, ranks in each.items()]
        return f"{self.what}: {', '.join(told)}, {most} on the others"


def differences(each: Sequence[dict[str, str]]) -> list[Difference]:
    """In what ranks are not alike, given the `arithmetic` of each."""
    found: list[Difference] = []
    for what in each[0]:
        if {known.what for known in found} & set(_CAUSES.get(what, ())):
            continue
        values = [facts.get(what, "unknown") for facts in each]
        most = Counter(values).most_common(1)[0][0]
        odd = [rank for rank, value in enumerate(values) if value != most]
        if odd:
            found.append(Difference(what, values, odd, _cure(what, values)))
    return found


def _cure(what: str, values: Sequence[str]) -> str:
    """What makes ranks alike that have these values."""
    if what == "processor features":
        sets = [frozenset(value.split()) for value in values]
        common = frozenset.intersection(*sets)
        extra = " ".join(sorted(frozenset.union(*sets) - common))
        return f"export NPY_DISABLE_CPU_FEATURES='{extra}'{_WIDE}"
    if what in ("BLAS kernels", PRODUCTS):
        return f"export OPENBLAS_CORETYPE={PINS['OPENBLAS_CORETYPE']}{_WIDE}"
    if what == FUNCTIONS:
        return _LIBM
    if what in ("dtrain", "NumPy"):
        return f"pip install {what.lower()}=={max(values)}  # on every host"
    if what == "BLAS":
        version = np.__version__
        return f"pip install --force-reinstall numpy=={version}  # on every host"
    return _IMAGE


def gather(world: World) -> list[dict[str, str]]:
    """The `arithmetic` of each rank, on every rank; collective, one exchange."""
    return [json.loads(d) for d in world.allgather(json.dumps(arithmetic()).encode())]


def compare(world: World) -> list[str]:
    """Warn, on rank 0, where ranks are not alike; give the names; collective."""
    if world.size == 1:
        return []
    found = differences(gather(world))
    if found and world.rank == 0:
        LOG.warning(
            "ranks compute with other bits: %s; so the result depends on how many "
            "ranks there are, and where. What makes them alike: %s. `dtrain doctor` "
            "under the same mpirun tells more",
            "; ".join(each.describe(world.hosts) for each in found),
            "; ".join(dict.fromkeys(each.cure for each in found)),
        )
    return [each.what for each in found]
