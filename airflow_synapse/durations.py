"""Parses durations and numbers as people write them. Pure."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pendulum

_OF_TIMEDELTA = re.compile(r"(?:(-?\d+) days?, )?(\d+):(\d\d):(\d\d(?:\.\d+)?)")
"""How Python writes a timedelta as text, which is what a template makes of it."""


def to_seconds(value: Any, name: str) -> float | None:
    """Return a duration in seconds.

    :param value: Seconds as a number or as text, a ``timedelta``, an ISO 8601 duration such as
        ``PT1H30M``, or None or empty text for no limit. ``None`` as text,
        and a timedelta as text, are what templates make of them.
    :param name: The argument's name, for the error message.
    :raises ValueError: if the value is none of these, or not above 0.
    """
    if _is_nothing(value):
        return None
    seconds = _seconds(value)
    if seconds is None or not 0 < seconds < float("inf"):
        raise _refusal(value, name, "above 0")
    return seconds


def to_interval(value: Any, name: str, *, default: float) -> float:
    """Return a duration in seconds, which may also be 0.

    :param value: As in :func:`to_seconds`. None or empty text means the default.
    :param default: Seconds.
    :raises ValueError: if the value is none of these, or below 0.
    """
    if _is_nothing(value):
        return default
    seconds = _seconds(value)
    if seconds is None or not 0 <= seconds < float("inf"):
        raise _refusal(value, name, "of 0 or more")
    return seconds


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip() in ("", "None"))


def _refusal(value: Any, name: str, allowed: str) -> ValueError:
    return ValueError(
        f"{name} is {value!r}, but must be a duration {allowed}: seconds, a timedelta, or an ISO 8601 "
        "duration such as PT1H30M."
    )


def _seconds(value: Any) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool):
        return None
    number = to_number(value)
    if isinstance(number, (int, float)):
        return float(number)
    if written := _OF_TIMEDELTA.fullmatch(str(value).strip()):
        days, hours, minutes, seconds = (float(part or 0) for part in written.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
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
