"""Durations and numbers as a person may write them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from airflow_synapse.durations import to_number, to_seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        (90, 90.0),
        (0.5, 0.5),
        ("90", 90.0),
        ("1.5", 1.5),
        (timedelta(minutes=2), 120.0),
        ("PT1H30M", 5400.0),
        ("P1D", 86400.0),
    ],
)
def test_duration_becomes_seconds(value: Any, seconds: float | None) -> None:
    """Numbers, their text, timedeltas and ISO 8601 durations are seconds; nothing is no limit."""
    assert to_seconds(value, "job_timeout") == seconds


@pytest.mark.parametrize(
    "value",
    [0, -1, "0", "soon", "2026-01-01", True, timedelta(0), "inf", "nan", [5], "PT0S", "1h"],
)
def test_what_is_no_duration_is_refused(value: Any) -> None:
    """The error names the argument, what was given and what it may be."""
    with pytest.raises(ValueError, match=f"job_timeout is {re.escape(repr(value))}.*PT1H30M"):
        to_seconds(value, "job_timeout")


@pytest.mark.parametrize(
    ("value", "number"),
    [("4", 4), ("0.5", 0.5), (4, 4), ("", None), (None, None), ("many", "many"), ([1], [1])],
)
def test_rendered_number_is_a_number(value: Any, number: Any) -> None:
    """What a template rendered as text is the number again; the rest is left to be refused."""
    assert to_number(value) == number
    assert type(to_number(value)) is type(number)
