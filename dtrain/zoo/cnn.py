"""A convolutional network in the manner of LeNet-5 (LeCun et al., 1998), for 8 × 8.

Convolution is weight sharing in space: one filter for all positions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.tracing import layers
from dtrain.tracing.trace import program


@program
def cnn(x: Any) -> Any:
    """Two convolutions with a mean pooling between, two dense layers; 10 logits.

    Args:
        x: 64 pixels, row by row.
    """
    image = np.reshape(x, (1, 8, 8))
    edges = layers.convolutional(image, 16, 3, name="edges", padding="same")
    small = layers.mean_pool(np.tanh(edges), 2)  # (16, 4, 4)
    parts = np.tanh(layers.convolutional(small, 32, 3, name="parts"))  # (32, 2, 2)
    hidden = np.tanh(layers.dense(np.ravel(parts), 64, name="hidden"))
    return layers.dense(hidden, 10, name="output")
