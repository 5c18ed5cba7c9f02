"""The level that a line of a job's log shows."""

from __future__ import annotations

import pytest

from airflow_synapse.rayjobs.logs.levels import level_of


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("WARNING:root:late", "warning"),
        ("CRITICAL:a.b:over", "critical"),
        ("DEBUG:root:inside", "debug"),
        ("ERROR: text", "error"),
        ("[ERROR] text", "error"),
        ("2026-01-02 03:04:05,678\tINFO worker.py:1691 -- text", "info"),
        ("2026-01-02 03:04:05,678\tERROR worker.py:1691 -- text", "error"),
        ("2026-01-02 03:04:05,678 - my.name - WARNING - text", "warning"),
        ("2026-01-02 03:04:05.678 | ERROR    | __main__:f:1 - text", "error"),
        ("2026-01-02T03:04:05Z WARN text", "warning"),
        ("[2026-01-02 03:04:05] ERROR text", "error"),
        ("[2026-01-02 03:04:05,678 W 12 34] (raylet) a.cc:1: text", "warning"),
        ("W0102 03:04:05.678 12 a.cc:1] text", "warning"),
        ("\x1b[36m(work pid=12)\x1b[0m ERROR:root:text", "error"),
        ("\x1b[36m(work pid=12, ip=10.0.0.1)\x1b[0m WARNING:root:text", "warning"),
        ("\x1b[33m(raylet)\x1b[0m WARNING: text", "warning"),
        ("\x1b[1m[STEP: train]\x1b[0m\x1b[94m [LEVEL: WARNING]\x1b[0m text", "warning"),
    ],
)
def test_line_with_a_level_has_it(line: str, level: str) -> None:
    """Python's own formats, Ray's, loguru's, and lines of Ray's workers."""
    assert level_of(line) == level


@pytest.mark.parametrize(
    "line",
    [
        "",
        "epoch 1, ERROR rate 0.5",
        "ERRORS: 3",
        "no WARNING: here",
        "Traceback (most recent call last):",
        "ValueError: bad batch",
        "(" * 10_000 + "ERROR:root:text",
        " " * 10_000 + "ERROR",
    ],
)
def test_line_without_a_level_is_info(line: str) -> None:
    """A word somewhere in a sentence is none."""
    assert level_of(line) == "info"
