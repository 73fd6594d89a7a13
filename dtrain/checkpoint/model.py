"""What a file of weights remembers: all that is needed to use them again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

KEY = "dtrain.model"
"""The entry of a safetensors file's metadata that holds the facts, as JSON."""


class SavedWeights(dict[str, NDArray[Any]]):
    """Weights by name, with what their file says of the run that made them.

    Attributes:
        facts: ``program`` (its name), ``fingerprint`` (of its graph), ``columns`` (the
            names of the columns of each input), ``target`` (those of the target, or
            ``None``), ``loss``, ``categories`` and ``versions``; empty if the file says
            nothing.
    """

    def __init__(
        self, weights: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]
    ) -> None:
        super().__init__(weights)
        self.facts = facts

    @property
    def categories(self) -> Mapping[str, Sequence[str]]:
        """The texts of each input that reads a column of text, in the order of codes.

        The target's key is ``(target)``.
        """
        return dict(self.facts.get("categories", {}))


def facts_of(weights: Any) -> Mapping[str, Any]:
    """Return the facts of weights from a file or of a `Run`; of others, nothing."""
    facts = getattr(weights, "facts", None) or getattr(weights, "model", None)
    return facts if isinstance(facts, Mapping) else {}


def metadata(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata of a safetensors file that remembers facts."""
    return {KEY: json.dumps(facts, sort_keys=True)} if facts else {}


def read(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts in a file's metadata; nothing if they are damaged or missing."""
    try:
        facts = json.loads(found[KEY])
    except (KeyError, TypeError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}
