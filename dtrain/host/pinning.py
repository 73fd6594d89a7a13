"""`--bits portable`: pin NumPy and OpenBLAS to the AVX2 level, the same on every rank.

Both choose their kernels by the processor when they are loaded, so the variables that
pin them must be set before. Nothing here imports NumPy earlier.
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
"""NumPy's features above AVX2: X86_V4 since NumPy 2.4, the others before."""

PINS = {"NPY_DISABLE_CPU_FEATURES": " ".join(ABOVE), "OPENBLAS_CORETYPE": "Haswell"}
"""The variables that NumPy and OpenBLAS read.

The C library needs no pin: it has one variant of its functions for all processors with
AVX2 and FMA, and none above.
"""


def chosen() -> str:
    """Return the arithmetic requested by DTRAIN_BITS: native or portable.

    Raises:
        UsageError: the variable has another value.
    """
    return _known(os.environ.get(VARIABLE) or "native")


def _known(bits: str) -> str:
    if bits not in CHOICES:
        raise UsageError(f"no bits {bits!r}; there are {', '.join(CHOICES)}")
    return bits


def choose(bits: str) -> None:
    """Apply a command's --bits; call it before NumPy is imported.

    Raises:
        UsageError: another word, or native where DTRAIN_BITS says portable.
    """
    if _known(bits) == "native" != chosen():
        raise UsageError(f"--bits native, but {VARIABLE} is set: unset it")
    if bits == "portable":
        os.environ[VARIABLE] = bits
        pin()


def pin() -> None:
    """Load NumPy at the AVX2 level; no effect if it is loaded already.

    It replaces other values of the same variables, so that all ranks are the same.
    ``numerics.check_pins`` raises if it had no effect.
    """
    os.environ.pop("NPY_ENABLE_CPU_FEATURES", None)  # NumPy refuses both variables
    os.environ.update(PINS)
    with warnings.catch_warnings():  # NumPy warns of features that it does not have
        warnings.simplefilter("ignore", ImportWarning)
        import numpy  # noqa: F401


def shortfall(features: Iterable[str], kernels: str) -> str:
    """Return how features and BLAS kernels differ from the AVX2 level; "" if not."""
    features = set(features)
    above = sorted(features & set(ABOVE))
    if above:
        return f"NumPy uses {' '.join(above)}"
    if not features & {"X86_V3", "AVX2"}:
        return f"NumPy uses {' '.join(sorted(features)) or 'no features'} only"
    if kernels != PINS["OPENBLAS_CORETYPE"]:
        return f"BLAS has kernels for {kernels}, not for Haswell"
    return ""
