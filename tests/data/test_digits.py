"""The digits: two fixed parts."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Any

import numpy as np
import pytest

from dtrain.data.binding import bind
from dtrain.data.digits import digits
from dtrain.errors import UsageError

FILE_SHA256 = "007a0315f456314a6901c6f857f49e98f489d6f00ba8a3cbfcc1e0d4e5464cdf"


def test_the_file_never_changes() -> None:
    content = resources.files("dtrain.data").joinpath("digits.npz").read_bytes()
    assert hashlib.sha256(content).hexdigest() == FILE_SHA256


@pytest.mark.parametrize(("part", "samples"), [("train", 1437), ("heldout", 360)])
def test_columns(part: Any, samples: int) -> None:
    data = digits(part)
    x, t, label = (data.columns[name] for name in ("x", "t", "label"))
    assert len(data.columns["x"]) == samples
    assert (x.shape, t.shape, label.shape) == (
        (samples, 64),
        (samples, 10),
        (samples,),
    )
    assert (x.dtype, t.dtype, label.dtype) == (np.float64, np.float64, np.int64)
    assert (x.min(), x.max()) == (0, 1)
    assert set(np.unique(x * 16)) == set(range(17))
    np.testing.assert_array_equal(t.argmax(axis=1), label)
    np.testing.assert_array_equal(t.sum(axis=1), 1)


def test_both_parts_have_equal_fractions_of_each_digit() -> None:
    train, heldout = (
        np.bincount(digits(part).columns["label"]) for part in ("train", "heldout")
    )
    np.testing.assert_allclose(heldout / (train + heldout), 0.2, atol=0.005)


def test_no_sample_is_in_both_parts() -> None:
    train, heldout = (
        {row.tobytes() for row in digits(part).columns["x"]}
        for part in ("train", "heldout")
    )
    assert not train & heldout
    assert len(train) + len(heldout) == 1797


def test_the_one_hot_column_is_the_target() -> None:
    data = digits("train")
    samples = bind(data, ["x"], None, {})
    assert samples.target is data.columns["t"]
    samples.check_finite(0, len(samples))


def test_an_unknown_part_is_refused() -> None:
    part: Any = "test"
    with pytest.raises(UsageError, match="no part 'test'; there are train, heldout"):
        digits(part)
