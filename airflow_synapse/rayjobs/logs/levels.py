"""Tells which level a line of a job's log shows. Pure."""

from __future__ import annotations

import re

INFO = "info"

_LEVELS = {
    "DEBUG": "debug",
    "INFO": INFO,
    "WARNING": "warning",
    "WARN": "warning",
    "ERROR": "error",
    "CRITICAL": "critical",
    "FATAL": "critical",
    "D": "debug",
    "I": INFO,
    "W": "warning",
    "E": "error",
    "C": "critical",
    "F": "critical",
}
_WORD = r"(?P<level>DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL)"
_TIME = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d"
_FORMS = (
    # Python's own format, as in "WARNING:root:text", and what prints its level first: "INFO: text"
    rf"{_WORD}:",
    rf"\[(?:LEVEL: )?{_WORD}\]",
    # "2026-01-02 03:04:05,678 - name - INFO - text", Ray's "2026-… INFO worker.py:1 -- text" and loguru's
    rf"\[?{_TIME}[^\s\]]*\]?\s+(?:[-|]\s+)?(?:[\w.:]+\s+[-|]\s+)?\[?{_WORD}\b",
    # Ray's C++: "[2026-01-02 03:04:05,678 W 12 34] text" and glog: "W0102 03:04:05.678 …"
    rf"\[{_TIME},\d+ (?P<letter>[DIWECF]) \d+",
    r"(?P<glog>[IWEF])\d{4} \d\d:\d\d:\d\d",
)
_BEFORE = r"(?:\x1b\[[\d;]*m|\s|\([^()\n]{1,100} ?pid=\d+[^()\n]{0,60}\)|\(raylet\)|\[STEP: [^\]]{1,80}\])*"
"""Colours, and what Ray and synapse-sdk put in front of a line."""
_SHOWN = [re.compile(_BEFORE + form) for form in _FORMS]
_FAR_ENOUGH = 300


def level_of(line: str) -> str:
    """Return the level that a line shows: debug, info, warning, error or critical. Without one it is info."""
    if not _MAY_SHOW(line, 0, _FAR_ENOUGH):
        return INFO
    beginning = line[:_FAR_ENOUGH]
    for form in _SHOWN:
        if shown := form.match(beginning):
            return _LEVELS[next(filter(None, shown.groups()))]
    return INFO


_MAY_SHOW = re.compile(r"DEBUG|WARN|ERROR|CRITICAL|FATAL| [DWECF] \d|[WEF]\d{4} ").search
"""Whether a line may show any level but INFO. Most lines don't, and this is quick."""
