"""Write files whole or not at all, and check beforehand that they can be written."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dtrain.checkpoint.model import metadata
from dtrain.errors import UsageError


def save(
    weights: Mapping[str, NDArray[Any]],
    path: str | os.PathLike[str],
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write weights to a safetensors file, whole or not at all.

    Args:
        weights: by name.
        path: the file.
        facts: what the file shall remember; see `dtrain.checkpoint.model`.
    """
    from safetensors.numpy import save as serialise

    arrays = {name: np.asarray(w, order="C") for name, w in weights.items()}
    content = serialise(arrays, metadata(facts or {}) or None)
    with written_whole(path, "weights") as file:
        file.write(content)


@contextmanager
def written_whole(path: str | os.PathLike[str], what: str) -> Iterator[BinaryIO]:
    """A file that appears under its name when it is complete, or not at all.

    It is written under a temporary name beside it, flushed to the disk and renamed;
    into a device or a pipe it is written as it comes.

    Raises:
        UsageError: if it cannot be written; a file that was there is kept.
    """
    target = Path(path)
    if target.is_symlink() and target.is_file():
        target = target.resolve()
    # The name is cut, since all of it, and more, may be longer than a name can be.
    temporary = target.parent / f".{target.name[:50]}.{os.getpid()}.tmp"
    try:
        if _is_device(target):
            with target.open("wb") as file:
                yield file
            return
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise UsageError(
            f"cannot write the {what} to {path}: {error.strerror}"
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_report(report: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write numbers as JSON, whole or not at all; what is not finite becomes null.

    JSON has no NaN and no infinity, and other readers than Python's refuse the file.

    Raises:
        UsageError: if it cannot be written; a file that was there is kept.
    """
    text = json.dumps(_finite(report), indent=2, allow_nan=False)
    with written_whole(path, "report") as file:
        file.write(text.encode() + b"\n")


def _finite(value: Any) -> Any:
    """Return the same, with None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_device(path: Path) -> bool:
    """Whether it is, like /dev/stdout, something to write into and not to replace."""
    return path.exists() and not path.is_file() and not path.is_dir()


def check_outputs(
    outputs: Mapping[str, str | None],
    read: Mapping[str, str | None],
    made: str | None = None,
) -> None:
    """Refuse, before any work, files that cannot be written, or must not be.

    Args:
        outputs: paths to write, by option.
        read: paths that are read, by what they are; of a folder, its arrays and
            checkpoints are.
        made: a folder that will be there by then.

    Raises:
        UsageError: if one cannot be written, or is one of the others.
    """
    given = {option: path for option, path in outputs.items() if path is not None}
    if not given:
        return
    written: dict[Path, str] = {}
    for option, path in given.items():
        check_writable(option, path, made)
        target = Path(path).resolve()
        if _is_device(target):
            continue
        if target in written:
            raise UsageError(f"{option} {path} would overwrite {written[target]}")
        written[target] = f"what {option} writes"
        own, folder = _identity(target), _identity(target.parent)
        inside = folder if any(map(target.match, _READ_INSIDE)) else None
        for what, other in read.items():
            if other and _identity(other) in {own, inside} - {None}:
                raise UsageError(f"{option} {path} would overwrite {what}")


_READ_INSIDE = ("*.npy", "step-*.safetensors")


def _identity(path: str | Path) -> object:
    """What tells a file or folder from all others; if it is not there, its path."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return Path(path).resolve()
    return status.st_dev, status.st_ino


def check_writable(option: str, path: str | None, made: str | None = None) -> None:
    """Refuse, before any work, a file that could not be written after it.

    Args:
        option: what names it.
        path: the file.
        made: a folder that will be there by then, and so will those it lies in.

    Raises:
        UsageError: if its folder is missing or not writable, or it is a folder.
    """
    if path is None:
        return
    try:
        _check_writable(option, path, made)
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}") from None


def _check_writable(option: str, path: str, made: str | None) -> None:
    target = Path(path)
    if target.is_dir():
        raise UsageError(f"{option} {path} is a folder; give a file's name")
    if not target.parent.is_dir():
        folder = Path(made).resolve() if made else None
        if folder and target.parent.resolve() in (folder, *folder.parents):
            return
        raise UsageError(f"{option} {path}: there is no folder {target.parent}")
    if _is_device(target):
        return
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise UsageError(
            f"{option} {path}: cannot write into {target.parent}: {error.strerror}"
        ) from None
