"""The kernels that this process has loaded, each form once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from dtrain.engine.fused.cache import cached
from dtrain.engine.fused.form import Form

if TYPE_CHECKING:
    from dtrain.engine.fused.native import Library

Run = Callable[[int, int], None]

_lock = threading.Lock()  # ranks may be threads
_libraries: list[Library] = []
_addresses: dict[Form, int] = {}


def loaded(forms: Sequence[Form]) -> tuple[Run, Mapping[Form, int]]:
    """Return the driver, and the address of each form's kernel.

    Kernels that are not loaded yet are compiled together, to one file of the cache.
    """
    from dtrain.engine.fused import native  # only this backend needs LLVM

    with _lock:
        missing = sorted(set(forms) - _addresses.keys(), key=lambda form: form.name)
        if missing or not _libraries:
            host = native.host()
            code = cached(
                native.key(missing, host), partial(native.compiled, missing, host)
            )
            library = native.Library(code, host)
            _libraries.append(library)
            _addresses.update((form, library.address(form)) for form in missing)
        return _libraries[-1].run, _addresses
