"""What Airflow can hold of the values that a job may make.

Airflow sends events and XComs as msgpack, whose integers have 64 bits and whose text is UTF-8, and
keeps them in JSON columns. Of an event that can't be sent or kept, the whole triggerer dies, again
after each restart (Airflow 3.3.2: ``TriggerRunner.sync_state_to_supervisor``).
"""

from __future__ import annotations

import math
from typing import Any

_INTEGERS = range(-(2**63), 2**64)
_DEEPEST = 100
"""Levels of lists and dicts in an event."""


def safe_text(text: str) -> str:
    """Return text with escapes for what is no character, or none that PostgreSQL takes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def is_safe(value: Any, depth: int = 0) -> bool:
    """Return whether a value of JSON passes all of Airflow unharmed.

    Keys in front of which are underscores are left out, as Airflow's serialization has such of its own.
    """
    if isinstance(value, str):
        return safe_text(value) == value
    if isinstance(value, int):
        return value in _INTEGERS
    if isinstance(value, float):
        return math.isfinite(value)
    if depth >= _DEEPEST:
        return False
    if isinstance(value, list):
        return all(is_safe(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return all(
            is_safe(key) and not key.startswith("__") and is_safe(item, depth + 1)
            for key, item in value.items()
        )
    return value is None


def safe_value(value: Any) -> Any:
    """Return a value of JSON with text in place of integers that are too large, and only safe text."""
    if isinstance(value, str):
        return safe_text(value)
    if isinstance(value, int) and value not in _INTEGERS:
        return str(value)
    if isinstance(value, list):
        return [safe_value(item) for item in value]
    if isinstance(value, dict):
        return {safe_text(key): safe_value(item) for key, item in value.items()}
    return value
