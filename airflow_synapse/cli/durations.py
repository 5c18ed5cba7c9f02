"""Reads durations as people write them on a command line. Pure."""

from __future__ import annotations

import re

from airflow_synapse.cli.exits import UsageError
from airflow_synapse.durations import to_seconds

_SHORT = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(text: str, option: str) -> float:
    """Return a duration in seconds.

    :param text: Seconds, a number with a unit such as ``90s``, ``30m``, ``12h`` or ``7d``, or an ISO 8601
        duration.
    :param option: Its name, for the error.
    :raises UsageError: if it is no duration.
    """
    short = _SHORT.fullmatch(text.strip())
    try:
        seconds = float(short[1]) * _UNITS[short[2]] if short else to_seconds(text, option)
    except ValueError:
        seconds = None
    if seconds is None:
        raise UsageError(
            f"{option} is {text!r}, but must be a duration such as 90s, 12h or PT1H30M"
        )
    return seconds
