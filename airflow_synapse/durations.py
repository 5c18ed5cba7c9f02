"""Parses durations and numbers as people write them. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum


def to_seconds(value: Any, name: str) -> float | None:
    """Return a duration in seconds.

    :param value: Seconds as a number or as text, a ``timedelta``, an ISO 8601 duration such as
        ``PT1H30M``, or None or empty text for no limit.
    :param name: The argument's name, for the error message.
    :raises ValueError: if the value is none of these, or not above 0.
    """
    if value is None or value == "":
        return None
    seconds = _seconds(value)
    if seconds is None or not 0 < seconds < float("inf"):
        raise ValueError(
            f"{name} is {value!r}, but must be a duration above 0: seconds, a timedelta, or an ISO 8601 "
            "duration such as PT1H30M."
        )
    return seconds


def _seconds(value: Any) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool):
        return None
    number = to_number(value)
    if isinstance(number, (int, float)):
        return float(number)
    try:
        parsed = pendulum.parse(str(value))
    except ValueError:
        return None
    return parsed.total_seconds() if isinstance(parsed, pendulum.Duration) else None


def to_number(value: Any) -> Any:
    """Return the number that a template rendered as text. Return anything else unchanged."""
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value or None
