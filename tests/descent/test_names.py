"""The names of losses, optimizers and schedules: hints for wrong ones, completion."""

from __future__ import annotations

import pytest

from dtrain import losses, optimizers, penalties, schedules, zoo
from dtrain.errors import UsageError


@pytest.mark.parametrize(
    ("given", "called"),
    [
        ("mse", "'mse' is called 'square' here"),
        ("MAE", "'MAE' is called 'absolute' here"),
        ("ce", "'ce' is called 'cross_entropy' here"),
        ("Huber", "'Huber' is called 'huber' here"),
        ("squared", "did you mean 'square'?"),
        ("nonsense", "mean$"),
    ],
)
def test_an_unknown_loss_gets_a_hint(given, called):
    with pytest.raises(UsageError, match=f"'{given}'; there are square, .*{called}"):
        losses.named(given)


def test_aliases_are_of_losses_that_exist():
    assert set(losses._ALIASES.values()) <= set(losses.LOSSES)
    assert not set(losses._ALIASES) & set(losses.LOSSES)


@pytest.mark.parametrize(
    "module", [losses, optimizers, penalties, schedules, zoo], ids=lambda m: m.__name__
)
def test_completion_shows_only_public_names(module):
    assert dir(module) == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)
