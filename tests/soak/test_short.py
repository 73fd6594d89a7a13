"""Short versions of the long runs, for every change."""

import pytest

from tests.soak import faults, fuzz

QUICK = [name for name, case in faults.CASES.items() if case.quick]


@pytest.mark.parametrize("name", QUICK)
def test_a_planned_fault_ends_as_promised(name):
    """Under one library or the other, by turns; `scripts/soak faults` tries both."""
    library = faults.LIBRARIES[QUICK.index(name) % 2]
    faults.run_case(faults.CASES[name], library)


def test_there_are_thirty_faults_and_more():
    assert len(faults.CASES) >= 30


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_bad_input_is_refused_without_a_traceback(kind):
    codes = fuzz.attempts(kind, 60, 1)
    assert 2 in codes
