"""A program whose every step takes its time: what befalls a run finds it running.

DTRAIN_TEST_PACE is in seconds; the bits do not depend on it.
"""

import os
import time

import numpy as np

from dtrain import base_function, layers, program

SECONDS = float(os.environ.get("DTRAIN_TEST_PACE", "0"))


@base_function(shape=lambda x: x, vjp=lambda v, y, x: (v,))
def paced(x):
    """X itself, later."""
    time.sleep(SECONDS)
    return np.array(x)


@program
def net(x):
    """Give the scores of ten digits."""
    hidden = np.tanh(layers.dense(x, 32, name="hidden"))
    return layers.dense(paced(hidden), 10, name="scores")
