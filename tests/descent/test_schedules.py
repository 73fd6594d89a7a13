"""Learning-rate schedules: the formulas of the papers, step by step."""

from __future__ import annotations

import inspect
import math

import pytest

from dtrain.descent import schedules
from dtrain.descent.schedules import constant, cosine, named, step, warmup
from dtrain.errors import UsageError

# schedule: its rates at steps 0, 1, 2, ...
SAMPLES = {
    constant(0.5): [0.5, 0.5, 0.5],
    step(1.0, every=2, factor=0.5): [1, 1, 0.5, 0.5, 0.25],
    cosine(0.9, steps=3, final=0.1): [0.9, 0.7, 0.3, 0.1, 0.1],
    warmup(step(1.0, every=4), steps=4): [0.25, 0.5, 0.75, 1, 0.1],
    warmup(constant(0.3), steps=0): [0.3, 0.3],
    warmup(constant(0.3), steps=1): [0.3, 0.3],
}


@pytest.mark.parametrize("schedule", SAMPLES, ids=repr)
def test_rates(schedule: schedules.Schedule) -> None:
    rates = [schedule(k) for k in range(len(SAMPLES[schedule]))]
    assert rates == pytest.approx(SAMPLES[schedule], rel=1e-12)
    assert all(type(rate) is float for rate in rates)


def test_every_schedule_has_a_docstring_and_a_sample() -> None:
    classes = {
        item
        for _, item in inspect.getmembers(schedules, inspect.isclass)
        if item.__module__ == schedules.__name__
    }
    assert classes == {type(sample) for sample in SAMPLES}
    assert set(schedules.SCHEDULES.values()) == classes - {warmup}
    assert all("η(k) =" in str(item.__doc__) for item in classes)


@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_named_schedules_start_at_the_rate(name: str) -> None:
    schedule = named(name, 0.25, steps=10)
    assert type(schedule) is schedules.SCHEDULES[name]
    assert schedule(0) == 0.25
    assert 0 <= schedule(9) <= 0.25


def test_an_unknown_name_lists_the_known_ones_and_the_closest() -> None:
    message = "'cosin'; there are constant, step, cosine; did you mean 'cosine'"
    with pytest.raises(UsageError, match=message):
        named("cosin", 0.1, steps=10)


@pytest.mark.parametrize(
    ("make", "parameter"),
    [
        (lambda: constant(-0.1), "rate"),
        (lambda: constant(math.nan), "rate"),
        (lambda: step(0.1, every=0), "every"),
        (lambda: step(0.1, every=1, factor=-1), "factor"),
        (lambda: cosine(math.inf, steps=3), "rate"),
        (lambda: cosine(0.1, steps=0), "steps"),
        (lambda: cosine(0.1, steps=3, final=-1), "final"),
        (lambda: warmup(constant(0.1), steps=-1), "steps"),
    ],
)
def test_an_invalid_setting_is_refused_by_name(make, parameter: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=parameter):
        make()
