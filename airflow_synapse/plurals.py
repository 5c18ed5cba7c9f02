"""Counts and types as people write them: 1 job, 2 jobs, an int."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return the number with the noun in singular or plural, for nouns that only take an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def a_kind(value: object) -> str:
    """Return the name of the value's type with its article."""
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiouAEIO" else f"a {name}"
