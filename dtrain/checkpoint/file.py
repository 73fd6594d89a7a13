"""A checkpoint's file: the arrays of a state, what run it is of, and a SHA-256 of all.

It is a safetensors file, so nothing in it can be executed. Its last 32 bytes, the
tensor ``checkpoint.sha256``, are the digest of all bytes before them, header included,
so a file that has been cut or changed anywhere is not read. It comes to its name when
it is complete: it is written under another, flushed to the disk and renamed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dtrain.checkpoint.model import SavedWeights
from dtrain.errors import DataError
from dtrain.gradient.vector import Layout

_FACTS = "dtrain.checkpoint"  # in the header's metadata
_DIGEST = "checkpoint.sha256"
_PIECE = 1 << 22  # bytes written at a time
FORMAT = 1
_ARRAYS = {  # those of every run: dtypes and number of dimensions
    "steps": (("int64",), 0),
    "skips": (("int64",), 1),
    "sums": (("float64",), 1),
    "counts": (("float64",), 1),
    "reached": (("uint8",), 1),
    "weights": (("float32", "float64"), 1),
}
_TYPES = {"int64": "I64", "float32": "F32", "float64": "F64", "uint8": "U8"}


@dataclass(frozen=True)
class Checkpoint:
    """What a file held.

    Attributes:
        path: the file.
        facts: what run it is of, as `dtrain.training.saver` describes it.
        arrays: those of `dtrain.training.state.State`.
    """

    path: Path
    facts: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    def weights(self) -> SavedWeights:
        """Return the weights by name."""
        shapes = {name: tuple(shape) for name, shape in self.facts["weights"].items()}
        flat = self.arrays["weights"]
        views = Layout.of(shapes, flat.dtype).views(flat)
        return SavedWeights(views, self.facts.get("model", {}))


def write(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    facts: Mapping[str, Any],
    *,
    durable: bool = True,
    room: BinaryIO | None = None,
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: the file; its folder must be there.
        arrays: contiguous arrays by name.
        facts: what JSON can hold.
        durable: wait until it is on the disk, to outlive a loss of power, too.
        room: a file of that folder to be written over and renamed; see `reserve`.

    Raises:
        OSError: it cannot be written; what was there is kept.
    """
    own = f"{os.getpid()}-{threading.get_ident()}"
    temporary = Path(room.name) if room else path.with_name(f".{path.name}.{own}.tmp")
    try:
        with room or _held(temporary) as file:
            file.seek(0)
            for piece in _content(arrays, facts):
                _put(file, piece)
            file.truncate()
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()
    if durable:
        _sync(path.parent)


def abandoned(path: Path) -> bool:
    """Tell whether a file that is written under another name has no writer any more.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # no locks on this file system: it cannot be known
            return True
    return True


def _held(path: Path) -> BinaryIO:
    """Make a file that is not `abandoned` until it is closed, or this process ends."""
    file = path.open("w+b")
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def reserve(path: Path, size: int) -> BinaryIO:
    """Make a file of so many zeros, for a save that shall not wait for the room.

    Memory that a system has not used before can cost more time than what is written to
    it: 0.4 s instead of 0.03 s for 117 MB were seen in a virtual machine.

    Raises:
        OSError: there is no room; none is taken.
    """
    file = _held(path)
    try:
        for start in range(0, size, _PIECE):
            file.write(bytes(min(_PIECE, size - start)))
        file.flush()
    except OSError:
        path.unlink(missing_ok=True)
        with suppress(OSError):
            file.close()
        raise
    return file


def read(path: Path) -> Checkpoint:
    """Read a checkpoint and verify it.

    Raises:
        DataError: it cannot be read, or is not, byte for byte, what was written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as parse

    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read checkpoint {path}: {error.strerror}") from None
    if hashlib.sha256(memoryview(content)[:-32]).digest() != content[-32:]:
        raise DataError(
            f"checkpoint {path} is damaged: its content does not have its SHA-256"
        )
    try:
        facts = json.loads(_header(content)["__metadata__"][_FACTS])
        arrays = dict(parse(content))
        del arrays[_DIGEST]
        _check(facts, arrays)
    except (
        SafetensorError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise DataError(f"{path} is no checkpoint of dtrain: {error!r}") from None
    return Checkpoint(path, facts, arrays)


def _check(facts: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Hold what a file says against what a run can have written.

    Its digest finds damage; this finds what another program has made.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: for what no run writes.
    """
    if facts["format"] != FORMAT:
        raise ValueError(f"format {facts['format']!r}, known is {FORMAT}")
    for name in ("run", "versions"):
        if not all(isinstance(text, str) for text in facts[name].values()):
            raise ValueError(f"{name}: {facts[name]!r}")
    shapes = {name: tuple(shape) for name, shape in facts["weights"].items()}
    counts = [facts[name] for name in ("samples", "steps_per_epoch", "epochs")]
    if not all(type(n) is int and n > 0 for n in counts):
        raise ValueError(f"samples, steps_per_epoch, epochs: {counts}")
    if not all(type(n) is int and n >= 0 for shape in shapes.values() for n in shape):
        raise ValueError(f"weights: {shapes}")
    for name, (dtype, dimensions) in _ARRAYS.items():
        array = arrays[name]
        if array.dtype.name not in dtype or array.ndim != dimensions:
            raise ValueError(f"{name}: {array.dtype} of shape {array.shape}")
    if arrays["steps"] < 0 or not (arrays["counts"] >= 0).all():
        raise ValueError(f"steps: {arrays['steps']}, counts: {arrays['counts']}")
    weights = arrays["weights"]
    if Layout.of(shapes, weights.dtype).size != weights.size:
        raise ValueError(f"weights: {weights.size} numbers for {shapes}")


def is_checkpoint(content: bytes) -> bool:
    """Return whether a safetensors file is a checkpoint, be it a damaged one."""
    try:
        header = _header(content)
        return _DIGEST in header or _FACTS in header.get("__metadata__", ())
    except (ValueError, TypeError, AttributeError):
        return False


def last_loss(path: Path) -> float | None:
    """The mean loss of the last epoch that a checkpoint has completed; unverified."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, 1 << 24)))
        loss = json.loads(header["__metadata__"][_FACTS])["loss"]
        return None if loss is None else float(loss)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def metadata_of(content: bytes) -> Mapping[str, Any]:
    """Return the metadata of a safetensors file."""
    found = _header(content).get("__metadata__", {})
    return found if isinstance(found, dict) else {}


def _header(content: bytes) -> dict[str, Any]:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + min(length, len(content))])
    if not isinstance(header, dict):
        raise ValueError("the header is no table")
    return header


def _content(
    arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]
) -> Iterator[bytes | memoryview]:
    """Yield the file piece by piece: a length, a header, the arrays, and the digest."""
    header: dict[str, Any] = {"__metadata__": {_FACTS: json.dumps(facts)}}
    start = 0
    box = np.empty(32, np.uint8)  # stands for the digest
    for name, array in [*arrays.items(), (_DIGEST, box)]:
        header[name] = {
            "dtype": _TYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [start, start + array.nbytes],
        }
        start += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    length = len(text).to_bytes(8, "little")
    for part in (memoryview(length), memoryview(text), *map(_bytes, arrays.values())):
        for low in range(0, len(part), _PIECE):
            piece = part[low : low + _PIECE]
            digest.update(piece)
            yield piece
    yield digest.digest()


def _bytes(array: NDArray[Any]) -> memoryview:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return little.reshape(-1).view(np.uint8).data


def _put(file: BinaryIO, piece: bytes | memoryview) -> None:
    """Write a piece; tests stop here, at any byte."""
    file.write(piece)


def _sync(folder: Path) -> None:
    """Bring a folder's names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
