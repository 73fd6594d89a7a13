"""Programs of clusters of atoms, and clusters: made ones and a small file's."""

from __future__ import annotations

import numpy as np

from dtrain import present, program, ragged, weight


def atoms(species, r, mask):
    """Return the energies of atoms, from the distances to the others (L,)."""
    size = r.shape[0]
    near = mask[:, None] & mask[None, :] & ~np.eye(size, dtype=bool)
    offsets = r[:, None, :] - r[None, :, :]
    square = np.where(near, np.sum(offsets * offsets, axis=-1), 1.0)
    radial = np.stack(
        [np.sum(np.exp(-eta * square), axis=1, where=near) for eta in (0.5, 2.0)],
        axis=1,
    )
    hidden = radial @ weight("W", (2, 5)) + weight("E", (3, 5))[species]
    return np.tanh(hidden) @ weight("v", (5,))


@program
def energy(species, r):
    """The energy of a cluster: a sum over its atoms."""
    return np.sum(atoms(species, r, present(r)), where=present(r))


@program
def charges(species, r):
    """A vector for each atom, from its own energy and the mean of all."""
    mask = present(species)
    own = atoms(species, r, mask)
    mean = np.mean(own, where=mask)
    return np.stack([own, own * mean, mean - own], axis=1)


def clusters(count, most=9, seed=0, least=1):
    """Return columns of made clusters with targets for a cluster and for each atom."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(least, most, count, endpoint=True)
    return {
        "species": [rng.integers(0, 3, n) for n in lengths],
        "r": [rng.normal(size=(n, 3)) for n in lengths],
        "t": rng.normal(size=count),
        "q": [rng.normal(size=(n, 3)) for n in lengths],
    }


def columns_for(program, data):
    """Return a program's inputs and its target ``t``, ragged even if lengths agree."""
    target = ragged(data["q"]) if program is charges else data["t"]
    inputs = {name: ragged(data[name]) for name in program.inputs}
    return {**inputs, "t": target}


def row(data, i):
    """Return the columns of one sample."""
    return {name: column[i : i + 1] for name, column in data.items()}
