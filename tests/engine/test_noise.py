"""Random numbers of programs: their law, and that only their key determines them."""

import math

import numpy as np
import pytest

from dtrain.engine.noise import _LAWS, Draw, philox
from dtrain.tracing.noise import kept_share

LAWS = {"normal": (0, 1), "uniform": (0.5, 1 / 12), "dropout": (1, 0.3 / 0.7)}
DTYPES = ["float32", "float64"]


def drawn(law, rows, shape=(), *, seed=0, step=0, name="noise 1", dtype="float64"):
    rate = 0.3 if law == "dropout" else 0.0
    count = len(range(rows.start, rows.stop)) if isinstance(rows, slice) else len(rows)
    out = np.full((count, *shape), np.nan, dtype)
    params = {"name": name, "distribution": law, "rate": rate}
    Draw(seed, step).fill(params, rows, out)
    return out


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0,) * 4, (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (0xFFFFFFFF,) * 4,
            (0xFFFFFFFF,) * 2,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_the_generator_gives_the_published_words(counter, key, words):
    """The known answers of Random123, the authors' library."""
    given = [np.array([word], np.uint64) for word in counter]
    assert tuple(int(word[0]) for word in philox(given, key)) == words


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("law", LAWS)
def test_mean_and_variance_are_within_5_sigma(law, dtype):
    values = drawn(law, slice(0, 1000), (1000,), dtype=dtype).astype(np.float64)
    mean, variance = LAWS[law]
    centred = values - mean
    fourth = np.mean(centred**4)
    count = values.size
    assert abs(np.mean(centred)) < 5 * math.sqrt(variance / count)
    deviation = math.sqrt((fourth - variance**2) / count)
    assert abs(np.mean(centred**2) - variance) < 5 * deviation + 1e-6


@pytest.mark.parametrize("law", LAWS)
def test_steps_rows_nodes_seeds_and_elements_are_uncorrelated(law):
    rows, shape = slice(0, 500), (400,)
    base = drawn(law, rows, shape)
    others = [
        drawn(law, rows, shape, step=1),
        drawn(law, rows, shape, seed=1),
        drawn(law, rows, shape, name="noise 2"),
        drawn(law, slice(1, 501), shape),
        np.roll(base, 1, axis=1),
        *(np.roll(base, shift, axis=1) for shift in (50, 100, 200)),
    ]
    mean, variance = LAWS[law]
    for other in others:
        products = (base - mean) * (other - mean) / variance
        assert abs(np.mean(products)) < 5 / math.sqrt(products.size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (8,), (3, 5), (0,), (9000,)])
@pytest.mark.parametrize("law", LAWS)
def test_a_row_has_the_same_bits_in_any_block(law, shape, dtype):
    rows = np.random.default_rng(0).permutation(40)
    whole = drawn(law, slice(0, 40), shape, dtype=dtype)
    assert np.isfinite(whole).all()
    assert np.array_equal(drawn(law, rows, shape, dtype=dtype), whole[rows])
    for row in (0, 17, 39):
        alone = drawn(law, slice(row, row + 1), shape, dtype=dtype)
        assert np.array_equal(alone[0], whole[row])


def test_rows_beyond_32_bits_differ():
    rows = np.array([5, 5 + (1 << 32)])
    first, second = drawn("uniform", rows, (20,))
    assert not np.any(first == second)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_uniform_number_is_below_1(dtype):
    words = [np.full((1, 4), 0xFFFFFFFF, np.uint64)] * 4
    for law in ("uniform", "normal"):
        out = np.empty((1, 8), dtype)
        _LAWS[law](tuple(words), {}, out)
        assert np.isfinite(out).all()
        assert law == "normal" or (out.min() > 0.9 and out.max() < 1)


@pytest.mark.parametrize("rate", [2**-16, 0.1, 0.5, 1 - 2**-16])
def test_kept_elements_are_divided_by_their_share(rate):
    out = np.empty((1, 1 << 18))
    params = {"name": "noise 1", "distribution": "dropout", "rate": rate}
    Draw(3, 4).fill(params, slice(0, 1), out)
    share = kept_share(rate) / (1 << 16)
    assert set(np.unique(out)) <= {0.0, 1 / share}
    assert share == pytest.approx(1 - rate, abs=2**-17)
