"""The number of threads that BLAS uses inside one matrix product."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController


@lru_cache(maxsize=1)
def _libraries(modules: int) -> list[Any]:  # noqa: ARG001
    """Return what controls the BLAS libraries of this process.

    Finding them takes a millisecond, so it is done again only after more modules were
    imported: SciPy, for example, brings a BLAS of its own.
    """
    found = ThreadpoolController().lib_controllers
    return [library for library in found if library.user_api in ("blas", "openmp")]


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Limit BLAS to so many threads; more than one thread may give other bits.

    The limit is the whole process's, so ranks that are threads share it.
    """
    libraries = _libraries(len(sys.modules))
    before = [library.num_threads for library in libraries]
    for library in libraries:
        library.set_num_threads(count)
    try:
        yield
    finally:
        for library, threads in zip(libraries, before, strict=True):
            library.set_num_threads(threads)
