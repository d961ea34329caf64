"""Statements that a notebook makes about its own runs, each printed with what decides whether it holds."""

from __future__ import annotations


def claim(text: str, holds: bool, shown: str) -> None:
    """Print a statement, marked as supported (✓) or not (✗), with the numbers that decide it."""
    print(f"{'✓' if holds else '✗ Not in this run:'} {text} [{shown}]")
