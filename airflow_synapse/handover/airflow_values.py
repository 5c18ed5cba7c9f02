"""Makes a job's values safe for Airflow to send and store.

Airflow sends events and XComs as msgpack, which has 64-bit integers and UTF-8 text, and stores them in
JSON columns. An event that it can't send or store kills the whole triggerer, and again after each
restart (Airflow 3.3.2: ``TriggerRunner.sync_state_to_supervisor``).
"""

from __future__ import annotations

import math
from typing import Any

_INTEGERS = range(-(2**63), 2**64)
_DEEPEST = 100
"""How many levels of lists and dicts an event may have."""


def safe_text(text: str) -> str:
    """Return text with escapes for invalid characters and for those that PostgreSQL rejects."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def is_safe(value: Any, depth: int = 0) -> bool:
    """Return whether a JSON value passes through Airflow unchanged.

    Keys that begin with two underscores do not, because Airflow's serialization uses such keys itself.
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
    """Return a JSON value in which integers that are too large are text, and all text is safe."""
    if isinstance(value, str):
        return safe_text(value)
    if isinstance(value, int) and value not in _INTEGERS:
        return str(value)
    if isinstance(value, list):
        return [safe_value(item) for item in value]
    if isinstance(value, dict):
        return {safe_text(key): safe_value(item) for key, item in value.items()}
    return value
