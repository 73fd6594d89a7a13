"""Optional packages for data formats: the extra ``data``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dtrain.errors import DataError


def needed(package: str, source: str) -> Any:
    """Import an optional package.

    Args:
        package: its name.
        source: the name of the data in the message.

    Raises:
        DataError: it is not installed; says how to install it.
    """
    try:
        return import_module(package)
    except ImportError:
        raise DataError(
            f"{source}: reading this format needs {package.partition('.')[0]}, which "
            "is not installed: pip install 'dtrain[data]'"
        ) from None
