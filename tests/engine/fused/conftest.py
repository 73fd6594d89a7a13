"""Tests cache compiled code in a temporary folder, not in the user's."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
