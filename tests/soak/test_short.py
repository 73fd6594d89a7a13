"""Short versions of the long runs."""

import pytest

from tests.soak import faults, fuzz

QUICK = [name for name, case in faults.CASES.items() if case.quick]


@pytest.mark.full
@pytest.mark.parametrize("name", QUICK)
def test_a_planned_fault_ends_as_promised(name):
    """Under one launcher or another, by turns; `scripts/soak faults` tries all."""
    launchers = list(faults.LAUNCHERS)
    launcher = launchers[QUICK.index(name) % len(launchers)]
    faults.run_case(faults.CASES[name], launcher)


def test_there_are_thirty_faults_and_more():
    assert len(faults.CASES) >= 30


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_bad_input_is_refused_without_a_traceback(kind):
    codes = fuzz.attempts(kind, 60, 1)
    assert 2 in codes
