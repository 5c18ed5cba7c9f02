"""Counts as people write them: 1 job, 2 jobs."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return the number with the noun in singular or plural, for nouns that only take an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
