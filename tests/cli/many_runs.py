"""A program for mpirun: train in many ways; rank 0 prints each way's digest as JSON.

Arguments: the ranks that there must be, and a folder with files of data.
"""

import itertools
import json
import sys

from dtrain import train
from dtrain.worlds.opening import open_world
from tests.training.programs import net, net_data

SAMPLES = (101, 3)
BATCHES = (None, 24)
DTYPES = ("float32", "float64")
OPTIMIZERS = ("sgd", "adam")


def ways(folder):
    """Yield a name, the data and the options of each way."""
    for way in itertools.product(SAMPLES, BATCHES, DTYPES, OPTIMIZERS):
        samples, batch, dtype, optimizer = way
        options = {"batch": batch, "dtype": dtype, "optimizer": optimizer}
        yield " ".join(map(str, way)), net_data(samples), options
    for form in ("data.npz", "npy"):
        yield form, f"{folder}/{form}", {"batch": 17, "block": 3}


def main():
    """Train on all ranks, print on rank 0."""
    ranks, folder = int(sys.argv[1]), sys.argv[2]
    world = open_world()
    if world.size != ranks:
        raise SystemExit(f"{world.size} ranks instead of {ranks}")
    digests = {}
    for name, data, options in ways(folder):
        run = train(net, data, epochs=2, learning_rate=0.05, **options)
        digests[name] = run.digest
    if world.rank == 0:
        print(json.dumps(digests))


if __name__ == "__main__":
    main()
