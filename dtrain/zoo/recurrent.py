"""Recurrent networks, unrolled by a Python loop: the same weights at every step.

A weight used at T steps has T groups of paths to the output, and its derivative is the
sum over them (lecture, weight sharing). In a plain recurrent network the products along
long paths vanish (Bengio, Simard and Frasconi, 1994). A long short-term memory has a
path along which only gates are multiplied (Hochreiter and Schmidhuber, 1997; with a
forget gate: Gers, Schmidhuber and Cummins, 2000).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.data.columns import Dataset
from dtrain.tracing import layers
from dtrain.tracing.trace import program
from dtrain.tracing.weights import weight

KEYS = 4
SYMBOLS = 8  # the keys and 4 symbols of noise
UNITS = 16


@program
def rnn(x: Any) -> Any:
    """A state h of 16 numbers: h = tanh(W x + U h + b) at each of T steps.

    Args:
        x: T symbols, integers; a symbol selects a row of W.
    """
    U, b = weight("U", (UNITS, UNITS)), weight("b", UNITS, "zeros")
    h = np.zeros(UNITS)
    for Wx in weight("W", (SYMBOLS, UNITS))[x]:
        h = np.tanh(Wx + U @ h + b)
    return layers.dense(h, KEYS, name="output")


@program
def lstm(x: Any) -> Any:
    """A memory c of 16 cells, with input, forget and output gates i, f and o.

    Initially f keeps 1 − 1/T of a cell and i adds 1/T of the new value, so a cell is a
    mean over T steps (Tallec and Ollivier, 2018, section 2).

    Args:
        x: T symbols, integers; a symbol selects a row of W.
    """
    U, b = weight("U", (4 * UNITS, UNITS)), weight("b", 4 * UNITS, "zeros")
    h = c = np.zeros(UNITS)
    long = np.log(len(x))
    for Wx in weight("W", (SYMBOLS, 4 * UNITS))[x]:
        f, i, o, new = np.split(Wx + U @ h + b, 4)
        c = layers.sigmoid(f + long) * c + layers.sigmoid(i - long) * np.tanh(new)
        h = layers.sigmoid(o) * np.tanh(c)
    return layers.dense(h, KEYS, name="output")


def recall(steps: int, samples: int = 2048, seed: int = 0) -> Dataset:
    """Return sequences x of a key followed by noise; the target t is the key.

    Keys are the symbols 0 to 3, noise is 4 to 7. So only the first step has information
    about the key.

    Args:
        steps: the length T of a sequence.
        samples: the number N of sequences.
        seed: the seed of the generator.
    """
    rng = np.random.default_rng(seed)
    x = rng.integers(KEYS, SYMBOLS, (samples, steps))
    x[:, 0] = key = rng.integers(KEYS, size=samples)
    return Dataset({"x": x, "t": key}, f"recall over {steps} steps")
