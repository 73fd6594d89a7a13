"""One block of a transformer (Vaswani et al., 2017) that sorts a sequence.

All positions of the sequence share the weights. Only attention, a product of values,
passes information between positions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.data.columns import Dataset
from dtrain.tracing import layers
from dtrain.tracing.trace import program, scope
from dtrain.tracing.weights import weight

SYMBOLS = 10
LENGTH = 8
WIDTH = 32


@program
def transformer(x: Any) -> Any:
    """Attention and feed-forward, with residuals and norms; logits for each position.

    Args:
        x: 8 digits, integers.
    """
    h = weight("symbols", (SYMBOLS, WIDTH))[x] + weight("places", (LENGTH, WIDTH))
    h = layer_norm(h + attention(h), name="attended")
    h = layer_norm(h + feed_forward(h), name="fed")
    return h @ weight("output", (WIDTH, SYMBOLS))


def attention(h: Any) -> Any:
    """Return weighted means of values, by the match of queries and keys (eq. 1)."""
    Q, K, V = (h @ weight(name, (WIDTH, WIDTH)) for name in "QKV")
    shares = layers.softmax(Q @ K.T / np.sqrt(WIDTH))
    return shares @ V @ weight("O", (WIDTH, WIDTH))


def feed_forward(h: Any) -> Any:
    """Return a layer of relu neurons, the same for every position (eq. 2)."""
    b = weight("b", 2 * WIDTH, "zeros")
    up, down = weight("up", (WIDTH, 2 * WIDTH)), weight("down", (2 * WIDTH, WIDTH))
    return layers.relu(h @ up + b) @ down


def layer_norm(h: Any, *, name: str) -> Any:
    """Normalise each position to mean 0 and variance 1; scale, shift (Ba, 2016)."""
    with scope(name):
        gain, shift = weight("gain", WIDTH, "ones"), weight("shift", WIDTH, "zeros")
    centred = h - np.mean(h, axis=-1, keepdims=True)
    variance = np.mean(centred**2, axis=-1, keepdims=True)
    return gain * centred / np.sqrt(variance + 1e-5) + shift


def sequences(samples: int = 4096, seed: int = 0) -> Dataset:
    """Return sequences x of 8 digits; the target t is the same digits, sorted.

    Args:
        samples: the number N of sequences.
        seed: the seed of the generator.
    """
    x = np.random.default_rng(seed).integers(SYMBOLS, size=(samples, LENGTH))
    return Dataset({"x": x, "t": np.sort(x, axis=1)}, "sequences to sort")
