"""The command line's entrance."""

from __future__ import annotations


def main() -> int:
    """Run one command; return its exit code."""
    raise NotImplementedError
