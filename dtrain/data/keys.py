"""The keys that targets and weights of samples have beside the names of inputs.

No parameter of a Python function can have such a name, so no input has it.
"""

from __future__ import annotations

TARGET_KEY = "(target)"
"""The key of the target of the only output."""
WEIGHT_KEY = "(sample weight)"
"""The key of the weight of samples."""


def target_key(output: str | None) -> str:
    """Return the key of the target of an output; ``None``: of the only one."""
    return TARGET_KEY if output is None else f"{TARGET_KEY} {output}"


def target_text(key: str) -> str:
    """Return what messages call the target of a key."""
    output = key.removeprefix(TARGET_KEY).strip()
    return f"the target of output {output!r}" if output else "the target"
