"""What every test on several ranks has: a limit of time that no hang survives."""

import faulthandler

import pytest


@pytest.fixture(autouse=True)
def _limit():
    faulthandler.dump_traceback_later(60, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
