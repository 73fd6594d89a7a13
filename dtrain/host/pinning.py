"""`--bits portable`: the arithmetic that every processor with AVX2 has, on every rank.

NumPy and OpenBLAS choose their kernels by the processor, when they are loaded, so the
pins are set before. Nothing here imports NumPy before.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable

from dtrain.errors import UsageError

CHOICES = ("native", "portable")
VARIABLE = "DTRAIN_BITS"
ABOVE = (
    *("X86_V4", "AVX512F", "AVX512CD", "AVX512_KNL", "AVX512_KNM", "AVX512_SKX"),
    *("AVX512_CLX", "AVX512_CNL", "AVX512_ICL", "AVX512_SPR", "FMA4", "XOP"),
)
"""NumPy's dispatched features above AVX2: X86_V4 since NumPy 2.4, others before."""

PINS = {"NPY_DISABLE_CPU_FEATURES": " ".join(ABOVE), "OPENBLAS_CORETYPE": "Haswell"}
"""What reaches NumPy and OpenBLAS.

The C library needs none: its functions have one variant for all processors with AVX2
and FMA, and none above.
"""


def chosen() -> str:
    """Which arithmetic this process was asked for.

    Raises:
        UsageError: for a word that means nothing.
    """
    return _known(os.environ.get(VARIABLE) or "native")


def _known(bits: str) -> str:
    if bits not in CHOICES:
        raise UsageError(f"no bits {bits!r}; there are {', '.join(CHOICES)}")
    return bits


def choose(bits: str) -> None:
    """Do as a command's --bits says; before NumPy is imported.

    Raises:
        UsageError: for a word that means nothing, or that comes too late.
    """
    if _known(bits) == "native" != chosen():
        raise UsageError(f"--bits native, but {VARIABLE} is set: unset it")
    if bits == "portable":
        os.environ[VARIABLE] = bits
        pin()


def pin() -> None:
    """Load NumPy at the AVX2 level, unless it is loaded; `check` tells whether it is.

    Other pins of the same variables give way: the same on all ranks is the point.
    """
    os.environ.pop("NPY_ENABLE_CPU_FEATURES", None)  # NumPy takes one of the two
    os.environ.update(PINS)
    with warnings.catch_warnings():  # about features that this NumPy does not have
        warnings.simplefilter("ignore", ImportWarning)
        import numpy  # noqa: F401


def check() -> None:
    """Hold what NumPy and BLAS use against what was asked for.

    Raises:
        UsageError: saying what is not as it should be, and what to do.
    """
    if chosen() == "native":
        return
    from dtrain.host.numerics import arithmetic

    here = arithmetic()
    wrong = shortfall(here["processor features"].split(), here["BLAS kernels"])
    if wrong:
        raise UsageError(
            f"--bits portable is the AVX2 level, but {wrong}; if NumPy was imported "
            f"before dtrain, import dtrain first, with {VARIABLE}=portable in the "
            "environment"
        )


def shortfall(features: Iterable[str], kernels: str) -> str:
    """What keeps features and BLAS kernels from the AVX2 level; empty if nothing."""
    features = set(features)
    above = sorted(features & set(ABOVE))
    if above:
        return f"NumPy uses {' '.join(above)}"
    if not features & {"X86_V3", "AVX2"}:
        return f"NumPy uses {' '.join(sorted(features)) or 'no features'} only"
    if kernels != PINS["OPENBLAS_CORETYPE"]:
        return f"BLAS has kernels for {kernels}, not for Haswell"
    return ""
