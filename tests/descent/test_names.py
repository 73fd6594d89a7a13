"""Hints for unknown names of losses."""

from __future__ import annotations

import pytest

from dtrain import losses
from dtrain.errors import UsageError


@pytest.mark.parametrize(
    ("given", "called"),
    [
        ("mse", "'mse' is called 'square' here"),
        ("MAE", "'MAE' is called 'absolute' here"),
        ("ce", "'ce' is called 'cross_entropy' here"),
        ("Huber", "did you mean 'huber'"),
        ("squared", "did you mean 'square'"),
        ("nonsense", "mean$"),
    ],
)
def test_an_unknown_loss_gets_a_hint(given, called):
    with pytest.raises(UsageError, match=f"'{given}'; there are square, .*{called}"):
        losses.named(given)


def test_aliases_refer_to_existing_losses():
    assert set(losses._ALIASES.values()) <= set(losses.LOSSES)
    assert not set(losses._ALIASES) & set(losses.LOSSES)
