"""Programs and data that are small, but have what makes sums hard to keep in order."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain import Checkpoint, layers, program, weight


@program
def net(x: Any, s: Any) -> Any:
    """A matrix that is used twice, a bias, and a scalar input beside a vector."""
    W = weight("W", (4, 4))
    hidden = np.tanh(W @ x + weight("b", 4) * s)
    return layers.dense(W @ hidden, 2, name="out")


@program
def warped(x: Any, s: Any) -> Any:
    """A matrix that is a function of weights alone, computed once a step."""
    V = np.tanh(weight("V", (2, 4)))
    return (V * np.exp(weight("scale"))) @ x + s


@program
def line(x: Any) -> Any:
    """A straight line."""
    return weight("slope", init=0.5) * x + weight("offset", init=-0.5)


@program
def distance(x: Any) -> Any:
    """A sample's own loss, for loss="mean"."""
    return np.sum(np.square(x - weight("centre", 3, init="zeros")))


@program
def both(x: Any) -> Any:
    """Two outputs by name."""
    W = weight("W", (2, 3))
    return {"high": np.max(W @ x), "all": np.tanh(W @ x)}


@program
def careless(x: Any) -> Any:
    """One weight is not used, one is behind a relu of negative values."""
    weight("unused")
    return weight("a", (), 1.0) * x + layers.relu(weight("dead", (), -1.0) - 5)


@program
def logit(x: Any) -> Any:
    """Logistic regression."""
    return weight("w", 2, "zeros") @ x + weight("b", (), 0.0)


def net_data(samples: int) -> dict[str, NDArray[Any]]:
    """Columns for `net`, drawn from the number of samples alone."""
    rng = np.random.default_rng([1, samples])
    x, s = rng.standard_normal((samples, 4)), rng.standard_normal(samples)
    t = np.stack([np.sin(x[:, 0] + s), x[:, 1] * x[:, 2]], axis=1)
    return {"x": x, "s": s, "t": t}


def line_data(samples: int = 23) -> dict[str, NDArray[Any]]:
    """Points on t = 3x + 1."""
    x = np.linspace(-1, 1, samples)
    return {"x": x, "t": 3 * x + 1}


def classes(*, separable: bool) -> dict[str, NDArray[Any]]:
    """Points of two classes, with a gap between them or with three wrong labels."""
    points = np.random.default_rng(5).uniform(-1, 1, (60, 2))
    score = points @ [1.0, -1.0]
    apart = np.abs(score) > 0.3
    labels = (score > 0).astype(float)
    if not separable:
        labels[np.flatnonzero(apart)[:3]] = 1 - labels[np.flatnonzero(apart)[:3]]
    return {"x": points[apart], "t": labels[apart]}


def digest(weights: dict[str, NDArray[Any]]) -> str:
    """The digest by its definition, as another program would compute it."""
    stream = b""
    for name in sorted(weights):
        array = np.asarray(weights[name])
        little = array.astype(array.dtype.newbyteorder("<"))
        shape = ",".join(str(length) for length in little.shape)
        stream += f"{name}\0{little.dtype.str}\0{shape}\0".encode()
        stream += little.tobytes("C")
    return hashlib.sha256(stream).hexdigest()


def settle(record: object) -> None:  # noqa: ARG001
    """Let a save end, so that the next step may be saved, too."""
    if threading.current_thread() is threading.main_thread():  # where rank 0 is
        for thread in threading.enumerate():
            if thread.name == "save":
                thread.join()


_CHECKPOINT = {
    "resume": "resume",
    "force": "force",
    "save_every": "every",
    "save_seconds": "seconds",
    "keep": "keep",
}


def saving(checkpoint: Any, **options: Any) -> dict[str, Any]:
    """Options of `train`, from the command line's flat ones about checkpoints."""
    given = {_CHECKPOINT[k]: options.pop(k) for k in _CHECKPOINT if k in options}
    return {"checkpoint": Checkpoint(checkpoint, **given), **options}
