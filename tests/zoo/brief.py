"""Train every program of the zoo for a few steps; print the digests by name.

Run as a program, on any number of ranks, rank 0 prints them as JSON.
"""

from __future__ import annotations

import json

from dtrain import train, zoo
from dtrain.worlds.opening import open_world


def samples(name, count):
    """Return the first samples of a data set of the zoo."""
    return {key: column[:count] for key, column in zoo.DATA[name]().columns.items()}


def briefly(name, world=None):
    """Train a program for three steps, the last of which is short."""
    entry = zoo.ENTRIES[name]
    options = {**entry.options, "epochs": 1, "batch": 50, "block": 8}
    return train(entry.program, samples(entry.data, 123), **options, world=world)


if __name__ == "__main__":
    world = open_world()
    digests = {name: briefly(name, world).digest for name in zoo.ENTRIES}
    if world.rank == 0:
        print(json.dumps({"ranks": world.size, **digests}))
